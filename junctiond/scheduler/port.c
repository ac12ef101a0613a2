/*
 * port.c - the uplink port through DPDK: tap, af_xdp, or any PCI device that a poll mode driver
 * knows.
 *
 * No hugepages: the packet buffers are ordinary memory, a few MiB of it. DPDK is started only if
 * there is an uplink. Its runtime folder is made in a place that only we see and removed as soon as
 * it was started, so that nothing is left behind however the process ends.
 */
#include "junctiond/scheduler/port.h"

#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_mbuf.h>

#include "junctiond/scheduler/log.h"
#include "junctiond/scheduler/scheduler.h"

#define NR_BUFS                                                                                    \
	8191u /* packet buffers: a full ring each way, a burst, and what fault injection holds */
#define RING 1024u

static bool present, csum_offload;
static uint16_t port;
static int event_fd = -1;
static bool event_counts; /* event_fd is an eventfd */
static struct rte_mempool *pool;
static struct rte_mbuf *out[PORT_BURST];
static unsigned nr_out;

bool port_present(void)
{
	return present;
}

static int fail(char *err, unsigned size, const char *spec, const char *what)
{
	snprintf(err, size, "--uplink %s: %s", spec, what);
	return -1;
}

/* The EAL makes $RUNTIME_DIRECTORY/dpdk/PREFIX; nothing in it is needed once it runs. */
static char *runtime_dir_make(char *dir, size_t size)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, size, "%s/junction-eal.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return NULL;
	setenv("RUNTIME_DIRECTORY", dir, 1);
	return dir;
}

static void runtime_dir_remove(const char *dir)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/dpdk/junction", dir);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/dpdk", dir);
	rmdir(path);
	rmdir(dir);
	unsetenv("RUNTIME_DIRECTORY");
}

static bool name_ok(const char *s, size_t max)
{
	size_t n = strlen(s);

	if (n == 0 || n > max)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("._:-", *s))
			return false;
	return true;
}

static int eal_start(const char *spec, char *err, unsigned err_size)
{
	char dev[128], dir[512], cpu[32];
	char *argv[] = {"junction-scheduler",
			"--no-huge",
			"--no-shconf",
			"--no-telemetry",
			"--iova-mode=va",
			"--file-prefix=junction",
			"-m",
			"64",
			"--log-level=*:error",
			"--lcores",
			cpu,
			dev,
			NULL,
			NULL};
	int argc = 12, rc;
	const char *driver;
	FILE *quiet = fopen("/dev/null", "we");

	if (!strncmp(spec, "tap:", 4)) {
		if (!name_ok(spec + 4, IFNAMSIZ - 1))
			return fail(err, err_size, spec,
				    "not a name for an interface; give tap:NAME, at most 15 "
				    "characters");
		if (access("/dev/net/tun", R_OK | W_OK) == -1)
			return fail(err, err_size, spec,
				    "/dev/net/tun cannot be opened; load the tun module or run as "
				    "a user who may");
		snprintf(dev, sizeof(dev), "--vdev=net_tap0,iface=%s", spec + 4);
		argv[argc++] = "--no-pci";
		driver = "tap";
	} else if (!strncmp(spec, "af_xdp:", 7)) {
		if (!name_ok(spec + 7, IFNAMSIZ - 1) || !if_nametoindex(spec + 7))
			return fail(err, err_size, spec, "no such interface; see 'ip link'");
		snprintf(dev, sizeof(dev), "--vdev=net_af_xdp0,iface=%s", spec + 7);
		argv[argc++] = "--no-pci";
		driver = "af_xdp";
	} else if (!strncmp(spec, "pci:", 4)) {
		if (!name_ok(spec + 4, 16))
			return fail(err, err_size, spec,
				    "not a PCI address; give pci:0000:01:00.0");
		snprintf(dev, sizeof(dev), "--allow=%s", spec + 4);
		driver = "pci";
	} else {
		return fail(err, err_size, spec,
			    "unknown kind of uplink; give tap:NAME, af_xdp:IFACE or pci:ADDR");
	}
	snprintf(cpu, sizeof(cpu), "0@(0-%ld)", sysconf(_SC_NPROCESSORS_CONF) - 1);
	if (!runtime_dir_make(dir, sizeof(dir)))
		return fail(err, err_size, spec,
			    "no temporary folder can be made; is $TMPDIR writable?");
	if (quiet && log_max < LOG_DEBUG)
		rte_openlog_stream(quiet);
	rc = rte_eal_init(argc, argv);
	runtime_dir_remove(dir);
	if (rc < 0) {
		snprintf(err, err_size,
			 "--uplink %s: DPDK did not start: %s; try --log-level=debug", spec,
			 rte_strerror(rte_errno));
		return -1;
	}
	if (rte_eth_dev_count_avail() != 1) {
		snprintf(err, err_size, "--uplink %s: DPDK found no %s device there; %s", spec,
			 driver,
			 driver[0] == 'p' ? "is it bound to vfio-pci?"
					  : "may this user make it (CAP_NET_ADMIN)?");
		rte_eal_cleanup();
		return -1;
	}
	return 0;
}

static int port_setup(const struct rte_eth_conf *conf)
{
	uint16_t nrx = RING, ntx = RING;
	int rc = rte_eth_dev_configure(port, 1, 1, conf);

	if (rc == 0)
		rc = rte_eth_dev_adjust_nb_rx_tx_desc(port, &nrx, &ntx);
	if (rc == 0)
		rc = rte_eth_rx_queue_setup(port, 0, nrx, SOCKET_ID_ANY, NULL, pool);
	if (rc == 0)
		rc = rte_eth_tx_queue_setup(port, 0, ntx, SOCKET_ID_ANY, NULL);
	if (rc == 0)
		rc = rte_eth_dev_start(port);
	return rc;
}

/*
 * What tells that frames have come: the tap itself, or an eventfd, which stays readable until it is
 * read. -1: the device has none.
 */
static void find_event_fd(void)
{
	char path[64], target[64] = "";

	event_fd = rte_eth_dev_rx_intr_ctl_q_get_fd(port, 0);
	if (event_fd == -1)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", event_fd);
	if (readlink(path, target, sizeof(target) - 1) == -1)
		target[0] = '\0';
	event_counts = strstr(target, "eventfd") != NULL;
}

static int port_start(const char *spec, char *err, unsigned err_size)
{
	struct rte_eth_conf conf = {.rxmode = {.mtu = 1500}, .intr_conf = {.rxq = 1}};
	struct rte_eth_dev_info info;
	int rc;

	port = (uint16_t)rte_eth_find_next(0);
	pool = rte_pktmbuf_pool_create("frames", NR_BUFS, 128, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
				       SOCKET_ID_ANY);
	if (!pool)
		return fail(err, err_size, spec, "no memory for packet buffers");
	rc = rte_eth_dev_info_get(port, &info);
	if (rc < 0)
		return fail(err, err_size, spec, "the device does not answer");
	/* The tap driver would verify checksums in software, on our core; instances do that on
	 * theirs. */
	if (strcmp(info.driver_name, "net_tap") &&
	    (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_CKSUM) &&
	    (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_UDP_CKSUM)) {
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
		csum_offload = true;
	}
	/* Not every device has receive interrupts; the others are polled. */
	rc = port_setup(&conf);
	if (rc < 0) {
		conf.intr_conf.rxq = 0;
		rc = port_setup(&conf);
	}
	if (rc < 0) {
		snprintf(err, err_size, "--uplink %s: the device cannot be set up: %s", spec,
			 rte_strerror(-rc));
		return -1;
	}
	/* Frames for the addresses of instances come too; a device that cannot hear them is told
	 * of. */
	rc = rte_eth_promiscuous_enable(port);
	if (rc < 0 && rc != -ENOTSUP)
		log_line(LOG_WARN, "port", "uplink hears its own address only", "error=\"%s\"",
			 rte_strerror(-rc));
	find_event_fd();
	log_line(LOG_INFO, "port", "uplink", "spec=%s driver=%s checksums=%s", spec,
		 info.driver_name, csum_offload ? "device" : "instances");
	return 0;
}

int port_open(const char *spec, char *err, unsigned err_size)
{
	if (!spec)
		return 0;
	if (eal_start(spec, err, err_size) < 0)
		return -1;
	if (port_start(spec, err, err_size) < 0) {
		rte_eal_cleanup();
		return -1;
	}
	present = true;
	return 0;
}

void port_close(void)
{
	if (!present)
		return;
	present = false;
	while (nr_out)
		rte_pktmbuf_free(out[--nr_out]);
	rte_eth_dev_stop(port);
	rte_eth_dev_close(port);
	rte_eal_cleanup();
}

unsigned port_rx(struct rte_mbuf *frames[PORT_BURST])
{
	return rte_eth_rx_burst(port, 0, frames, PORT_BURST);
}

bool port_flush(void)
{
	unsigned sent, i;

	if (!nr_out)
		return false;
	for (i = 0; i < nr_out; i++)
		sstats->uplink_tx_bytes += rte_pktmbuf_pkt_len(out[i]);
	sent = rte_eth_tx_burst(port, 0, out, (uint16_t)nr_out);
	sstats->uplink_tx_packets += sent;
	for (i = sent; i < nr_out; i++) {
		sstats->uplink_tx_bytes -= rte_pktmbuf_pkt_len(out[i]);
		sstats->drops[SDROP_UPLINK_FULL]++;
		rte_pktmbuf_free(out[i]);
	}
	nr_out = 0;
	return true;
}

void port_tx(struct rte_mbuf *m)
{
	out[nr_out++] = m;
	if (nr_out == PORT_BURST)
		port_flush();
}

struct rte_mbuf *port_alloc(void)
{
	return rte_pktmbuf_alloc(pool);
}

void port_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

struct rte_mbuf *port_copy(const struct iovec *iov, unsigned niov, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint8_t *p;

	if (!m)
		return NULL;
	p = len <= UINT16_MAX ? (uint8_t *)rte_pktmbuf_append(m, (uint16_t)len) : NULL;
	if (!p) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	for (unsigned i = 0; i < niov && len; i++) {
		size_t take = iov[i].iov_len < len ? iov[i].iov_len : len;

		memcpy(p, iov[i].iov_base, take);
		p += take;
		len -= take;
	}
	return m;
}

bool port_csum_good(const struct rte_mbuf *m)
{
	return csum_offload &&
	       (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
}

unsigned port_iov(const struct rte_mbuf *m, struct iovec *iov, unsigned max, uint32_t *len)
{
	unsigned n = 0;

	*len = rte_pktmbuf_pkt_len(m);
	for (; m; m = m->next) {
		if (n == max)
			return 0;
		if (rte_pktmbuf_data_len(m) == 0)
			continue;
		iov[n].iov_base = rte_pktmbuf_mtod(m, void *);
		iov[n++].iov_len = rte_pktmbuf_data_len(m);
	}
	return n;
}

int port_event_fd(void)
{
	return event_fd;
}

void port_events(bool enable)
{
	uint64_t n;

	if (!present || event_fd == -1)
		return;
	/* A tap is simply readable while frames wait: -ENOTSUP, nothing to switch. */
	if (enable)
		rte_eth_dev_rx_intr_enable(port, 0);
	else
		rte_eth_dev_rx_intr_disable(port, 0);
	if (!enable && event_counts && read(event_fd, &n, sizeof(n)) < 0)
		return; /* it had not fired */
}
