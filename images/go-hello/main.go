// go-hello: goroutines, channels, garbage collection, and a panic that is recovered.
package main

import (
	"fmt"
	"runtime"
	"sync"
)

func guarded() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("recovered: %v", r)
		}
	}()
	var m map[string]int
	m["x"] = 1
	return nil
}

func main() {
	var wg sync.WaitGroup
	sums := make(chan int, 8)
	for i := 0; i < 8; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			sum := 0
			for k := 0; k < 1000; k++ {
				b := make([]byte, 4096)
				b[k] = byte(i)
				sum += int(b[k]) + k
			}
			sums <- sum
		}(i)
	}
	wg.Wait()
	close(sums)
	total := 0
	for s := range sums {
		total += s
	}
	runtime.GC()
	fmt.Println("hello from Go, total", total)
	fmt.Println(guarded())
}
