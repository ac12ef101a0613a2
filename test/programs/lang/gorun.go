// gorun.go - the Go runtime's demands: goroutines, channels, garbage collection, preemption of a tight
// loop, timers, panics with a traceback, files.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func pipeline() {
	in, out := make(chan int), make(chan int)
	var wg sync.WaitGroup
	for w := 0; w < 8; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for v := range in {
				out <- v * v
			}
		}()
	}
	go func() {
		for i := 1; i <= 1000; i++ {
			in <- i
		}
		close(in)
		wg.Wait()
		close(out)
	}()
	sum := 0
	for v := range out {
		sum += v
	}
	fmt.Println("pipeline", sum)
}

func garbage() {
	type node struct {
		next *node
		data [64]byte
	}
	var keep *node
	for i := 0; i < 200000; i++ {
		n := &node{}
		n.data[0] = byte(i)
		if i%1000 == 0 {
			n.next = keep
			keep = n
		}
	}
	runtime.GC()
	debug.FreeOSMemory()
	n := 0
	for p := keep; p != nil; p = p.next {
		n++
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	fmt.Println("garbage", n, ms.NumGC > 0)
}

// A loop without a function call: only a signal stops it (GOMAXPROCS(1) makes that necessary).
func tightLoop() {
	old := runtime.GOMAXPROCS(1)
	var stop int32
	done := make(chan bool)
	go func() {
		for x := 0; atomic.LoadInt32(&stop) == 0; x++ {
		}
		done <- true
	}()
	runtime.Gosched()
	time.Sleep(20 * time.Millisecond)
	ran := false
	go func() { ran = true; atomic.StoreInt32(&stop, 1) }()
	<-done
	runtime.GOMAXPROCS(old)
	fmt.Println("tight loop preempted", ran)
}

func timers() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	select {
	case <-ctx.Done():
		fmt.Println("timeout", errors.Is(ctx.Err(), context.DeadlineExceeded))
	case <-time.After(5 * time.Second):
		fmt.Println("timeout late")
	}
	t := time.NewTicker(2 * time.Millisecond)
	n := 0
	for range t.C {
		if n++; n == 5 {
			break
		}
	}
	t.Stop()
	fmt.Println("ticks", n)
}

func panics() {
	defer func() {
		r := recover()
		fmt.Println("recovered", r)
		found := strings.Contains(string(debug.Stack()), "main.panics")
		fmt.Println("traceback names the function", found)
	}()
	var m map[string]int
	m["x"] = 1
}

func fault() {
	defer func() {
		r := recover()
		_, isRuntime := r.(runtime.Error)
		fmt.Println("nil dereference", isRuntime)
	}()
	var p *int
	*p = 1
}

func contention() {
	var mu sync.Mutex
	var rw sync.RWMutex
	var wg sync.WaitGroup
	counts := map[int]int{}
	for g := 0; g < 100; g++ {
		wg.Add(1)
		go func(g int) {
			defer wg.Done()
			for i := 0; i < 100; i++ {
				mu.Lock()
				counts[g%10]++
				mu.Unlock()
				rw.RLock()
				runtime.Gosched()
				rw.RUnlock()
			}
		}(g)
	}
	wg.Wait()
	keys := []int{}
	for k := range counts {
		keys = append(keys, k)
	}
	sort.Ints(keys)
	for _, k := range keys {
		fmt.Print(k, "=", counts[k], " ")
	}
	fmt.Println()
}

func files() {
	dir, err := os.MkdirTemp("", "gorun")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	name := dir + "/lines"
	f, err := os.Create(name)
	if err != nil {
		fmt.Println(err)
		return
	}
	w := bufio.NewWriter(f)
	for i := 0; i < 1000; i++ {
		fmt.Fprintln(w, "line", i)
	}
	w.Flush()
	f.Close()
	data, _ := os.ReadFile(name)
	fmt.Printf("file %d bytes %x\n", len(data), sha256.Sum256(data))
	entries, _ := os.ReadDir(dir)
	fmt.Println("entries", len(entries))
	_, err = os.Stat(dir + "/none")
	fmt.Println("missing", errors.Is(err, os.ErrNotExist))
}

func threads() {
	var wg sync.WaitGroup
	for i := 0; i < 10; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread() // a thread of its own
			time.Sleep(time.Millisecond)
		}()
	}
	wg.Wait()
	fmt.Println("locked threads done")
}

func main() {
	pipeline()
	garbage()
	tightLoop()
	timers()
	panics()
	fault()
	contention()
	files()
	threads()
	b, _ := json.Marshal(map[string]any{"args": os.Args[1:], "env": os.Getenv("LC_ALL"), "os": runtime.GOOS})
	fmt.Println(string(b))
	if len(os.Args) > 1 && os.Args[1] == "panic" {
		panic("as asked")
	}
	fmt.Fprintln(os.Stderr, "to standard error")
	os.Exit(5)
}
