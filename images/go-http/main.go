// main.go - a small server on net/http: a greeting, an echo, streams of any length, and requests of its own.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

// number reads a query parameter, or gives the default.
func number(r *http.Request, name string, def int) int {
	if v, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil && v >= 0 {
		return v
	}
	return def
}

// hello answers "/" only, so that other paths are 404.
func hello(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	fmt.Fprintln(w, "hello from Go, inside an instance")
}

// echo sends the body of a POST back, when it has all of it: HTTP/1 here is one way at a time.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST something", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// chunked sends n lines, each in a chunk of its own.
func chunked(w http.ResponseWriter, r *http.Request) {
	for i := 0; i < number(r, "n", 10); i++ {
		fmt.Fprintf(w, "chunk %d\n", i)
		w.(http.Flusher).Flush()
	}
}

// bytes sends n bytes of a pattern that shows any byte out of place.
func bytes(w http.ResponseWriter, r *http.Request) {
	n := number(r, "n", 1<<20)
	block := make([]byte, 251*256)
	for i := range block {
		block[i] = byte(i % 251)
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	for n > 0 {
		part := block
		if n < len(part) {
			part = part[:n]
		}
		if _, err := w.Write(part); err != nil {
			return
		}
		n -= len(part)
	}
}

// hash answers with the SHA-256 of the body of a POST.
func hash(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "%d %s\n", n, hex.EncodeToString(h.Sum(nil)))
}

// slow answers after ms milliseconds.
func slow(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(number(r, "ms", 100)) * time.Millisecond)
	fmt.Fprintln(w, "slept")
}

// fetch gets another URL and passes status and body on: an outbound connection.
func fetch(w http.ResponseWriter, r *http.Request) {
	resp, err := http.Get(r.URL.Query().Get("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}

func main() {
	addr := ":8080"
	if len(os.Args) > 1 {
		addr = os.Args[1]
	}
	http.HandleFunc("/", hello)
	http.HandleFunc("/echo", echo)
	http.HandleFunc("/chunked", chunked)
	http.HandleFunc("/bytes", bytes)
	http.HandleFunc("/hash", hash)
	http.HandleFunc("/slow", slow)
	http.HandleFunc("/fetch", fetch)
	log.Fatal(http.ListenAndServe(addr, nil))
}
