// main.go - the AES function in Go: encrypts the body with AES-128-CTR and answers `ciphertext: HEX`.
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

const maxBody = 1 << 20

func main() {
	key, _ := hex.DecodeString("6368616e676520746869732070617373")
	block, err := aes.NewCipher(key)
	if err != nil {
		log.Fatal(err)
	}
	ok := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") }
	http.HandleFunc("/_/health", ok)
	http.HandleFunc("/_/ready", ok)
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(body, body)
		fmt.Fprintf(w, "ciphertext: %x\n", body)
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	log.Fatal(http.ListenAndServe(":"+port, nil))
}
