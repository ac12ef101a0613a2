/*
 * netevil.c - an instance that means harm: what it does to its own NIC, which it shares with the
 * scheduler.
 *
 * The application shares the library OS's address space, so it can write its rings, its buffers,
 * and its control page. Not a program that a test compares with Linux: it works only inside an
 * instance.
 *
 *   netevil rings SEED SECONDS ADDR      random bytes over descriptors, event words and indices
 *   netevil buffers SEED SECONDS ADDR    random bytes over headers and frames that are in flight
 *   netevil control SEED SECONDS ADDR    random bytes over park words, doorbells and the rest of
 * the control page netevil forge MAC-OF-OTHER IP-OF-OTHER ADDR  frames with another's addresses,
 * forged ARP netevil flood SECONDS ADDR           datagrams as fast as they go netevil snoop
 * SECONDS MARK           looks through all of the region for MARK, which only others send
 *
 * ADDR is where some datagrams go, so that the queues are polled meanwhile.
 */
#include "t.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "libos/abi/nic.h"

static struct nic_region *const region = (void *)LIBOS_NIC_BASE;
static uint64_t seed = 88172645463325252ull;
static int sock = -1;
static struct sockaddr_in to;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void aim(const char *addr)
{
	to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9)};
	inet_pton(AF_INET, addr, &to.sin_addr);
	sock = socket(AF_INET, SOCK_DGRAM, 0);
}

static void shoot(const char *data, size_t n)
{
	sendto(sock, data, n, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

static void scribble(char *base, size_t len)
{
	uint64_t r = rnd();
	size_t at = r % (len - 8) & ~7ul;

	/* wild values, and values that are nearly right */
	switch (r >> 40 & 3) {
	case 0:
		*(volatile uint64_t *)(base + at) = rnd();
		break;
	case 1:
		*(volatile uint64_t *)(base + at) = rnd() % region->region_size;
		break;
	case 2:
		*(volatile uint16_t *)(base + at + (r >> 50 & 6)) = rnd();
		break;
	default:
		*(volatile uint8_t *)(base + at + (r >> 50 & 7)) ^= 1u << (rnd() & 7);
	}
}

static int storm(const char *what, double seconds)
{
	double end = now() + seconds;
	char data[1400];

	memset(data, 'e', sizeof(data));
	for (unsigned long i = 0; now() < end; i++) {
		if (!strcmp(what, "rings"))
			scribble((char *)region + NIC_QUEUE_OFF(0),
				 2 * region->nr_pairs * NIC_QUEUE_BYTES);
		else if (!strcmp(what, "buffers"))
			scribble((char *)region + region->bufs_off, 600 * NIC_BUF_SIZE);
		else /* not the boot record: the library OS would only harm itself by it */
			scribble((char *)LIBOS_CONTROL_BASE + offsetof(struct control, sched),
				 sizeof(struct control) - offsetof(struct control, sched));
		if (i % 64 == 0)
			shoot(data, 1 + rnd() % sizeof(data));
	}
	return 0;
}

/* The first descriptor of the first transmit queue that was never used. */
static unsigned free_slot(void)
{
	struct nic_desc *d = (void *)((char *)region + NIC_QUEUE_OFF(NIC_TX(0)));
	unsigned i = 0;

	while (i < NIC_RING_SIZE && d[i].flags)
		i++;
	return i;
}

static void post(unsigned slot, const uint8_t *frame, size_t n)
{
	struct nic_desc *d = (void *)((char *)region + NIC_QUEUE_OFF(NIC_TX(0)));
	size_t off = region->region_size - NIC_BUF_SIZE * (2 + slot);
	char *buf = (char *)region + off;

	memset(buf, 0, sizeof(struct nic_hdr));
	memcpy(buf + sizeof(struct nic_hdr), frame, n);
	d[slot].addr = off;
	d[slot].len = sizeof(struct nic_hdr) + n;
	d[slot].id = slot;
	__atomic_store_n(&d[slot].flags, NIC_DESC_F_AVAIL, __ATOMIC_RELEASE);
}

static size_t ipv4_udp(uint8_t *f, const uint8_t *dmac, const uint8_t *smac, uint32_t src,
		       uint32_t dst)
{
	uint32_t sum = 0;
	uint8_t *ip = f + 14;

	memset(f, 0, 64);
	memcpy(f, dmac, 6);
	memcpy(f + 6, smac, 6);
	f[12] = 8;
	ip[0] = 0x45;
	ip[3] = 20 + 8 + 4;
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, &src, 4);
	memcpy(ip + 16, &dst, 4);
	for (int i = 0; i < 20; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	ip[10] = sum >> 8;
	ip[11] = sum;
	ip[21] = 9; /* ports 9 to 9, no checksum */
	ip[23] = 9;
	ip[25] = 12;
	memcpy(ip + 28, "EVIL", 4);
	return 14 + 32;
}

static size_t arp(uint8_t *f, int op, const uint8_t *smac, uint32_t src, uint32_t dst)
{
	memset(f, 0, 64);
	memset(f, 0xff, 6);
	memcpy(f + 6, smac, 6);
	memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00", 9);
	f[21] = op;
	memcpy(f + 22, smac, 6);
	memcpy(f + 28, &src, 4);
	memcpy(f + 38, &dst, 4);
	return 42;
}

/* Each forged frame once; the test looks at the scheduler's counters and at the others. */
static int forge(const char *mac_text, const char *ip_text)
{
	uint8_t other[6], bcast[6] = {255, 255, 255, 255, 255, 255},
			  multi[6] = {1, 0, 0x5e, 0, 0, 1}, f[2048];
	const uint8_t *own = region->mac;
	uint32_t other_ip = inet_addr(ip_text), own_ip, any = to.sin_addr.s_addr;
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	unsigned slot;

	sscanf(mac_text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", other, other + 1, other + 2, other + 3,
	       other + 4, other + 5);
	connect(sock, (struct sockaddr *)&to, sizeof(to));
	getsockname(sock, (struct sockaddr *)&sa, &len);
	own_ip = sa.sin_addr.s_addr;
	send(sock, "hello", 5, 0); /* the queue is polled from now on */
	usleep(100000);
	slot = free_slot();
	if (slot > NIC_RING_SIZE - 16)
		return 3;
	for (int i = 0; free_slot() == slot;
	     i++) /* a send may say first that the one before was refused */
		if (send(sock, "hello", 5, 0) < 0 && i > 10)
			return 4;
	slot = free_slot();
	post(slot, f, ipv4_udp(f, other, other, own_ip, other_ip)), slot++; /* MAC of another */
	post(slot, f, ipv4_udp(f, bcast, own, other_ip, any)), slot++;	    /* IP of another */
	post(slot, f, ipv4_udp(f, other, own, other_ip, other_ip)), slot++;
	post(slot, f, arp(f, 2, own, other_ip, any)), slot++; /* "that IP is mine" */
	post(slot, f, arp(f, 2, other, other_ip, any)), slot++;
	post(slot, f, arp(f, 1, own, other_ip, own_ip)), slot++;
	post(slot, f, ipv4_udp(f, bcast, own, own_ip, 0xffffffff)),
		slot++; /* broadcast, multicast */
	post(slot, f, ipv4_udp(f, multi, own, own_ip, inet_addr("224.0.0.1"))), slot++;
	memset(f + 12, 0x86, 2);
	post(slot, f, 60), slot++; /* neither IPv4 nor ARP */
	post(slot, f, 7), slot++;  /* shorter than a header */
	say("posted");
	usleep(300000);
	return 0;
}

static int flood(double seconds)
{
	double end = now() + seconds;
	char data[1400];

	memset(data, 'f', sizeof(data));
	while (now() < end)
		for (int i = 0; i < 256; i++)
			shoot(data, sizeof(data));
	return 0;
}

static int snoop(double seconds, const char *mark)
{
	double end = now() + seconds;
	size_t len = strlen(mark);

	while (now() < end) {
		/* what was never written need not be touched: the first 16 MiB hold what the driver
		 * uses */
		const char *p = (char *)region + region->bufs_off, *stop = p + (16 << 20);

		for (; (p = memchr(p, mark[0], stop - p)); p++)
			if (stop - p >= (long)len && !memcmp(p, mark, len)) {
				say("seen");
				return 1;
			}
		usleep(20000);
	}
	say("nothing seen");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && (!strcmp(argv[1], "rings") || !strcmp(argv[1], "buffers") ||
			  !strcmp(argv[1], "control"))) {
		seed ^= strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ull;
		aim(argv[4]);
		return storm(argv[1], atof(argv[3]));
	}
	if (argc == 5 && !strcmp(argv[1], "forge")) {
		aim(argv[4]);
		return forge(argv[2], argv[3]);
	}
	if (argc == 4 && !strcmp(argv[1], "flood")) {
		aim(argv[3]);
		return flood(atof(argv[2]));
	}
	if (argc == 4 && !strcmp(argv[1], "snoop"))
		return snoop(atof(argv[2]), argv[3]);
	return 2;
}
