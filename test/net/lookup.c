/*
 * lookup.c - looks names up by getaddrinfo and prints what comes, a line each; "tcp:NAME:PORT" also connects.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void lookup(const char *name, const char *port, int family)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM}, *res = NULL;
	int err = getaddrinfo(name, port, &hints, &res);

	printf("%s:", name);
	if (err)
		printf(" %s", err == EAI_NONAME	  ? "no such name"
			      : err == EAI_AGAIN  ? "try again"
			      : err == EAI_FAIL	  ? "failed"
			      : err == EAI_SYSTEM ? "system error"
						  : gai_strerror(err));
	for (struct addrinfo *a = res; a; a = a->ai_next) {
		char text[64];

		getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
		printf(" %s", text);
	}
	putchar('\n');
	if (res)
		freeaddrinfo(res);
}

/* As programs do: each address in turn, whatever its family, until one connects. */
static void try_connect(char *name)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *res = NULL;
	char *port = strchr(name, ':'), buf[64];
	int s = -1;

	*port++ = '\0';
	if (getaddrinfo(name, port, &hints, &res)) {
		printf("tcp %s: no address\n", name);
		return;
	}
	for (struct addrinfo *a = res; a && s == -1; a = a->ai_next) {
		s = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (s != -1 && connect(s, a->ai_addr, a->ai_addrlen)) {
			close(s);
			s = -1;
		}
	}
	if (s == -1) {
		printf("tcp %s: cannot connect\n", name);
	} else {
		ssize_t n = recv(s, buf, sizeof(buf) - 1, 0);

		buf[n > 0 ? n : 0] = '\0';
		printf("tcp %s: %s\n", name, buf);
	}
	freeaddrinfo(res);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "tcp:", 4))
			try_connect(argv[i] + 4);
		else if (!strncmp(argv[i], "any:", 4))
			lookup(argv[i] + 4, "80", AF_UNSPEC);
		else
			lookup(argv[i], "80", AF_INET);
	}
	return 0;
}
