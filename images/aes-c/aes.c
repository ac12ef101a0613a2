/*
 * aes.c - a function: encrypts the body of a request with AES-128-CTR and answers `ciphertext:
 * HEX`.
 *
 * HTTP/1.1 on port 8080 (or $PORT), epoll, one thread. Bodies of up to 1 MiB, by Content-Length or
 * chunked; connections are kept alive and requests may be pipelined. GET /_/health and /_/ready
 * answer 200.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wmmintrin.h>

#define MAX_HEAD 16384
#define MAX_BODY (1u << 20)

/* The report's key and IV. */
static const uint8_t key[16] = {0x63, 0x68, 0x61, 0x6e, 0x67, 0x65, 0x20, 0x74,
				0x68, 0x69, 0x73, 0x20, 0x70, 0x61, 0x73, 0x73};
static __m128i round_key[11];

static __m128i next_key(__m128i k, __m128i assist)
{
	k = _mm_xor_si128(k, _mm_slli_si128(k, 4));
	k = _mm_xor_si128(k, _mm_slli_si128(k, 8));
	return _mm_xor_si128(k, _mm_shuffle_epi32(assist, 0xff));
}

/* FIPS 197, 5.2 */
static void expand_key(void)
{
#define ROUND(i, rcon)                                                                             \
	round_key[i] = next_key(round_key[i - 1], _mm_aeskeygenassist_si128(round_key[i - 1], rcon))
	round_key[0] = _mm_loadu_si128((const __m128i *)key);
	ROUND(1, 0x01), ROUND(2, 0x02), ROUND(3, 0x04), ROUND(4, 0x08), ROUND(5, 0x10);
	ROUND(6, 0x20), ROUND(7, 0x40), ROUND(8, 0x80), ROUND(9, 0x1b), ROUND(10, 0x36);
}

/* NIST SP 800-38A, 6.5: CTR mode from a zero counter block; in place. */
static void ctr_crypt(uint8_t *p, size_t n)
{
	for (uint64_t counter = 0; n; counter++) {
		uint8_t pad[16];
		size_t len = n < 16 ? n : 16;
		__m128i b = _mm_set_epi64x((int64_t)__builtin_bswap64(counter), 0);

		b = _mm_xor_si128(b, round_key[0]);
		for (int i = 1; i < 10; i++)
			b = _mm_aesenc_si128(b, round_key[i]);
		_mm_storeu_si128((__m128i *)pad, _mm_aesenclast_si128(b, round_key[10]));
		for (size_t i = 0; i < len; i++)
			p[i] ^= pad[i];
		p += len;
		n -= len;
	}
}

struct buffer {
	char *p;
	size_t len, cap;
};

struct connection {
	int fd;
	struct buffer in, out;
	size_t sent; /* of out */
	bool closing, want_out, told_continue;
};

static int epfd;

static bool reserve(struct buffer *b, size_t more)
{
	size_t cap = b->cap ? b->cap : 4096;
	char *p;

	while (cap < b->len + more)
		cap *= 2;
	if (cap == b->cap)
		return true;
	p = realloc(b->p, cap);
	if (!p)
		return false;
	b->p = p;
	b->cap = cap;
	return true;
}

static void respond(struct connection *c, const char *status, const char *prefix,
		    const uint8_t *hex, size_t n)
{
	size_t plen = strlen(prefix);

	if (!reserve(&c->out, 256 + plen + 2 * n)) {
		c->closing = true;
		return;
	}
	c->out.len += sprintf(
		c->out.p + c->out.len,
		"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n%s",
		status, plen + 2 * n + 1, c->closing ? "Connection: close\r\n" : "", prefix);
	for (size_t i = 0; i < n; i++) {
		c->out.p[c->out.len++] = "0123456789abcdef"[hex[i] >> 4];
		c->out.p[c->out.len++] = "0123456789abcdef"[hex[i] & 15];
	}
	c->out.p[c->out.len++] = '\n';
}

static void refuse(struct connection *c, const char *status)
{
	c->closing = true;
	respond(c, status, status, NULL, 0);
}

/* The value of a header field inside [head, end), or NULL; *len without surrounding blanks. */
static const char *field(const char *head, const char *end, const char *name, size_t *len)
{
	size_t nlen = strlen(name);

	for (const char *p = memchr(head, '\n', end - head); p && ++p < end;
	     p = memchr(p, '\n', end - p)) {
		const char *stop;

		if ((size_t)(end - p) <= nlen || strncasecmp(p, name, nlen) || p[nlen] != ':')
			continue;
		p += nlen + 1;
		stop = memchr(p, '\r', end - p);
		while (stop && p < stop && (*p == ' ' || *p == '\t'))
			p++;
		while (stop && stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
			stop--;
		*len = stop ? (size_t)(stop - p) : 0;
		return p;
	}
	return NULL;
}

/* RFC 9112, 7.1: decodes in place. Bytes of the raw body: > 0; 0: not complete; -1: bad. */
static long dechunk(char *raw, size_t len, size_t *body)
{
	size_t at = 0;

	*body = 0;
	for (;;) {
		char *eol = memmem(raw + at, len - at, "\r\n", 2), *end;
		unsigned long size;

		if (!eol)
			return len - at > 64 ? -1 : 0;
		errno = 0;
		size = strtoul(raw + at, &end, 16);
		if (end == raw + at || errno || size > MAX_BODY || raw[at] == '-' ||
		    (end != eol && *end != ';'))
			return -1;
		at = eol + 2 - raw;
		if (!size)
			break;
		if (*body + size > MAX_BODY)
			return -1;
		if (len - at < size + 2)
			return 0;
		if (memcmp(raw + at + size, "\r\n", 2))
			return -1;
		memmove(raw + *body, raw + at, size);
		*body += size;
		at += size + 2;
	}
	/* trailers, up to an empty line */
	for (;;) {
		char *eol = memmem(raw + at, len - at, "\r\n", 2);

		if (!eol)
			return len - at > MAX_HEAD ? -1 : 0;
		if (eol == raw + at)
			return eol + 2 - raw;
		at = eol + 2 - raw;
	}
}

/* Serves the first request of the input, if it is complete. Bytes consumed; 0: wait for more. */
static size_t serve_one(struct connection *c)
{
	char *head = c->in.p, *end = memmem(head, c->in.len, "\r\n\r\n", 4), *body;
	size_t body_len = 0, raw_len, n;
	const char *v;

	if (!end) {
		if (c->in.len > MAX_HEAD)
			refuse(c, "431 Request Header Fields Too Large");
		return 0;
	}
	body = end + 4;
	raw_len = c->in.len - (body - head);
	v = field(head, end + 2, "connection", &n);
	c->closing = (v && n == 5 && !strncasecmp(v, "close", 5)) ||
		     !memmem(head, strcspn(head, "\r\n"), " HTTP/1.1", 9);
	v = field(head, end + 2, "expect", &n);
	if (v && !c->told_continue && !raw_len && reserve(&c->out, 64)) {
		c->out.len += sprintf(c->out.p + c->out.len, "HTTP/1.1 100 Continue\r\n\r\n");
		c->told_continue = true;
	}
	v = field(head, end + 2, "transfer-encoding", &n);
	if (v) {
		long used;
		char *copy;

		if (n != 7 || strncasecmp(v, "chunked", 7) ||
		    field(head, end + 2, "content-length", &n)) {
			refuse(c, "400 Bad Request");
			return 0;
		}
		/* decoding moves bytes: not in the input, which may have to be looked at again */
		copy = malloc(raw_len + 1);
		if (!copy) {
			refuse(c, "503 Service Unavailable");
			return 0;
		}
		memcpy(copy, body, raw_len);
		copy[raw_len] = 0;
		used = dechunk(copy, raw_len, &body_len);
		if (used > 0) {
			ctr_crypt((uint8_t *)copy, body_len);
			respond(c, "200 OK", "ciphertext: ", (uint8_t *)copy, body_len);
		} else if (used < 0) {
			refuse(c, "400 Bad Request");
		}
		free(copy);
		return used > 0 ? body - head + used : 0;
	}
	v = field(head, end + 2, "content-length", &n);
	if (v) {
		char digits[12] = {};

		if (!n || n > 10 || strspn(v, "0123456789") < n) {
			refuse(c, n > 10 ? "413 Content Too Large" : "400 Bad Request");
			return 0;
		}
		memcpy(digits, v, n);
		body_len = strtoul(digits, NULL, 10);
		if (body_len > MAX_BODY) {
			refuse(c, "413 Content Too Large");
			return 0;
		}
		if (raw_len < body_len)
			return 0;
	}
	if (!strncmp(head, "GET /_/", 7)) {
		respond(c, "200 OK", "ok", NULL, 0);
	} else {
		ctr_crypt((uint8_t *)body, body_len);
		respond(c, "200 OK", "ciphertext: ", (uint8_t *)body, body_len);
	}
	return body - head + body_len;
}

static void finish(struct connection *c)
{
	close(c->fd);
	free(c->in.p);
	free(c->out.p);
	free(c);
}

/* Sends what there is. False: the connection is gone. */
static bool flush(struct connection *c)
{
	struct epoll_event ev = {.data.ptr = c};
	bool want;

	while (c->sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.p + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return false;
		c->sent += n;
	}
	want = c->sent < c->out.len;
	if (!want) {
		c->sent = c->out.len = 0;
		if (c->closing)
			return false;
	}
	if (want != c->want_out) {
		c->want_out = want;
		/* while the reader is slow, its next requests wait too */
		ev.events = want ? EPOLLOUT : EPOLLIN;
		epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &ev);
	}
	return true;
}

static bool serve(struct connection *c)
{
	size_t used;

	while (!c->closing && (used = serve_one(c))) {
		c->told_continue = false;
		c->in.len -= used;
		memmove(c->in.p, c->in.p + used, c->in.len);
	}
	return flush(c);
}

/* False: the connection is gone. */
static bool receive(struct connection *c)
{
	ssize_t n;

	if (!reserve(&c->in, 16384))
		return false;
	n = recv(c->fd, c->in.p + c->in.len, c->in.cap - c->in.len, 0);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->in.len += n;
	return serve(c);
}

static void welcome(int lfd)
{
	int fd, one = 1;

	while ((fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct connection *c = calloc(1, sizeof(*c));
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

		if (!c || (c->fd = fd, epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev))) {
			free(c);
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
}

int main(void)
{
	const char *port = getenv("PORT");
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port ? atoi(port) : 8080)};
	int lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
	struct epoll_event ev = {.events = EPOLLIN};

	if (!__builtin_cpu_supports("aes")) {
		fprintf(stderr, "aes: this processor has no AES instructions\n");
		return 1;
	}
	expand_key();
	signal(SIGPIPE, SIG_IGN);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (lfd < 0 || bind(lfd, (struct sockaddr *)&sa, sizeof(sa)) || listen(lfd, 1024) ||
	    epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, lfd, &ev)) {
		perror("aes: listen");
		return 1;
	}
	for (;;) {
		struct epoll_event evs[64];
		int n = epoll_wait(epfd, evs, 64, -1);

		for (int i = 0; i < n; i++) {
			struct connection *c = evs[i].data.ptr;

			if (!c)
				welcome(lfd);
			else if (!(evs[i].events & EPOLLOUT ? flush(c) && serve(c) : receive(c)))
				finish(c);
		}
	}
}
