// server.go - goroutines, preemption, an HTTP server and its client, a recovered and a fatal panic.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

func spin(stop *bool) {
	for i := 0; ; i++ {
		if i&0xffff == 0 && *stop {
			return
		}
	}
}

func recovered() {
	defer func() {
		buf := make([]byte, 4096)
		buf = buf[:runtime.Stack(buf, false)]
		fmt.Println(recover(), strings.Contains(string(buf), "main.recovered"))
	}()
	var p *int
	fmt.Println(*p)
}

func main() {
	stop := false
	go spin(&stop)
	var wg sync.WaitGroup
	sum := make([]int, 100)
	for i := range sum {
		wg.Add(1)
		go func(i int) { defer wg.Done(); time.Sleep(time.Millisecond); sum[i] = i }(i)
	}
	wg.Wait()
	runtime.GC()
	stop = true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "path %s", r.URL.Path)
	}))
	for i := 0; i < 20; i++ {
		r, err := http.Get(fmt.Sprintf("http://%s/%d", l.Addr(), i))
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		fmt.Println(string(body))
	}
	out, err := exec.Command("/bin/echo", "child").Output()
	fmt.Print(string(out), err, "\n")
	recovered()
	if len(os.Args) > 1 {
		var m map[string]int
		m["x"] = 1
	}
}
