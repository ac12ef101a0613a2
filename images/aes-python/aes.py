"""aes.py - the AES function in Python: encrypts the body with AES-128-CTR and answers `ciphertext: HEX`.

The cipher is OpenSSL's libcrypto, called through ctypes: the standard library has none.
"""
import ctypes
import http.server
import os

KEY, IV = bytes.fromhex("6368616e676520746869732070617373"), bytes(16)
MAX_BODY = 1 << 20
crypto = ctypes.CDLL("libcrypto.so.3")
for name in ("EVP_CIPHER_CTX_new", "EVP_aes_128_ctr"):
    getattr(crypto, name).restype = ctypes.c_void_p
crypto.EVP_EncryptInit_ex.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_char_p] * 2
crypto.EVP_EncryptUpdate.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int]
crypto.EVP_CIPHER_CTX_free.argtypes = [ctypes.c_void_p]


def encrypt(data):
    ctx = crypto.EVP_CIPHER_CTX_new()
    out, n = ctypes.create_string_buffer(len(data) + 1), ctypes.c_int()
    try:
        if not (crypto.EVP_EncryptInit_ex(ctx, crypto.EVP_aes_128_ctr(), None, KEY, IV)
                and crypto.EVP_EncryptUpdate(ctx, out, ctypes.byref(n), data, len(data))):
            raise RuntimeError("libcrypto refused")
    finally:
        crypto.EVP_CIPHER_CTX_free(ctx)
    return out.raw[: n.value]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one segment

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            n = int(self.headers.get("Content-Length") or 0)
            return self.rfile.read(n) if 0 <= n <= MAX_BODY else None
        data = b""
        while True:
            n = int(self.rfile.readline(64).split(b";")[0], 16)
            if not 0 <= n <= MAX_BODY - len(data):
                return None
            data += self.rfile.read(n)
            self.rfile.readline(MAX_BODY)
            if not n:
                return data

    def do_POST(self):
        try:
            data = self.body()
        except ValueError:
            data = None
        if data is None:
            self.close_connection = True
            self.answer(400, b"bad or oversized body\n")
        else:
            self.answer(200, b"ciphertext: " + encrypt(data).hex().encode() + b"\n")

    def do_GET(self):
        if self.path.startswith("/_/"):
            self.answer(200, b"ok\n")
        else:
            self.do_POST()

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


Server(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
