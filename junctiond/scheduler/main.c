/*
 * main.c - junction-scheduler: options, start and stop.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "junctiond/scheduler/clock.h"
#include "junctiond/scheduler/control.h"
#include "junctiond/scheduler/doorbell.h"
#include "junctiond/scheduler/fault.h"
#include "junctiond/scheduler/frame.h"
#include "junctiond/scheduler/instance.h"
#include "junctiond/scheduler/log.h"
#include "junctiond/scheduler/loop.h"
#include "junctiond/scheduler/pcap.h"
#include "junctiond/scheduler/port.h"
#include "junctiond/scheduler/protocol.h"
#include "junctiond/scheduler/rules.h"
#include "junctiond/scheduler/scheduler.h"
#include "junctiond/scheduler/stats_memory.h"

struct scheduler_config config = {
	.client_fd = -1,
	.own_core = -1,
	.mtu = 1500,
	.nr_buffers = 16384,
	.pcap_limit = 1ull << 30,
};

static const char help[] =
	"junction-scheduler: moves packets between an uplink and the instances of this host, and "
	"gives them cores\n"
	"\n"
	"  --uplink tap:NAME | af_xdp:IFACE | pci:ADDR   where packets leave the host; default: "
	"nowhere\n"
	"  --socket PATH          control socket; default: $JUNCTION_SCHEDULER, "
	"/run/junction/scheduler.sock for\n"
	"                         root, $XDG_RUNTIME_DIR/junction/scheduler.sock for others\n"
	"  --client-fd N          serve this connection alone, without a socket, and end with it\n"
	"  --net CIDR             addresses of instances; default 10.200.0.0/16\n"
	"  --gateway ADDR         told to instances; default: the first address of the network\n"
	"  --dns ADDR             told to instances; default: none\n"
	"  --allow A:B            instances A and B may talk (names, addresses, or *); may be "
	"repeated\n"
	"  --allow-all            all instances may talk to one another\n"
	"  --poll adaptive        sleep when nothing happens (default)\n"
	"  --poll dedicated       never sleep: with --core N (ours) and --cores LIST (those it "
	"gives to instances)\n"
	"  --buffers N            packet buffers of 2 KiB an instance; default 16384\n"
	"  --fault LIST           seed=N,loss=P,dup=P,reorder=P,corrupt=P,delay_us=N,jitter_us=N "
	"on the uplink\n"
	"  --pcap FILE            capture; --pcap-limit BYTES (default 1 GiB) bounds the file\n"
	"  --log-format text | json, --log-level error | warn | info | debug\n";

enum {
	O_UPLINK = 256,
	O_SOCKET,
	O_CLIENT_FD,
	O_NET,
	O_GATEWAY,
	O_DNS,
	O_ALLOW,
	O_ALLOW_ALL,
	O_POLL,
	O_CORE,
	O_CORES,
	O_BUFFERS,
	O_FAULT,
	O_PCAP,
	O_PCAP_LIMIT,
	O_LOG_FORMAT,
	O_LOG_LEVEL,
};

static const struct option options[] = {
	{"uplink", 1, NULL, O_UPLINK},
	{"socket", 1, NULL, O_SOCKET},
	{"client-fd", 1, NULL, O_CLIENT_FD},
	{"net", 1, NULL, O_NET},
	{"gateway", 1, NULL, O_GATEWAY},
	{"dns", 1, NULL, O_DNS},
	{"allow", 1, NULL, O_ALLOW},
	{"allow-all", 0, NULL, O_ALLOW_ALL},
	{"poll", 1, NULL, O_POLL},
	{"core", 1, NULL, O_CORE},
	{"cores", 1, NULL, O_CORES},
	{"buffers", 1, NULL, O_BUFFERS},
	{"fault", 1, NULL, O_FAULT},
	{"pcap", 1, NULL, O_PCAP},
	{"pcap-limit", 1, NULL, O_PCAP_LIMIT},
	{"log-format", 1, NULL, O_LOG_FORMAT},
	{"log-level", 1, NULL, O_LOG_LEVEL},
	{"help", 0, NULL, 'h'},
	{0},
};

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("junction-scheduler: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	exit(1);
}

static unsigned long number(const char *name, const char *text, unsigned long min,
			    unsigned long max)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v < min || v > max)
		die("--%s %s: give a number from %lu to %lu", name, text, min, max);
	return v;
}

static void address(const char *name, const char *text, struct ctl_addr *a)
{
	if (inet_pton(AF_INET, text, a->bytes) != 1)
		die("--%s %s: not an IPv4 address", name, text);
	a->family = AF_INET;
}

static void network(const char *text)
{
	char addr[32];
	const char *slash = strchr(text, '/');

	if (!slash || (size_t)(slash - text) >= sizeof(addr))
		die("--net %s: give a network such as 10.200.0.0/16", text);
	snprintf(addr, sizeof(addr), "%.*s", (int)(slash - text), text);
	address("net", addr, &config.net);
	config.net.prefix = (uint16_t)number("net", slash + 1, 8, 30);
	if (get_be32(config.net.bytes) & (0xffffffffu >> config.net.prefix))
		die("--net %s: the address has bits behind its prefix; is it that of the network?",
		    text);
}

/* 1,3-5 */
static void core_list(const char *text)
{
	const char *p = text;

	do {
		char *end;
		long from = strtol(p, &end, 10), to = from;

		if (end == p || from < 0)
			die("--cores %s: give a list such as 1,3-5", text);
		if (*end == '-') {
			p = end + 1;
			to = strtol(p, &end, 10);
			if (end == p)
				die("--cores %s: give a list such as 1,3-5", text);
		}
		if (to < from || to >= sysconf(_SC_NPROCESSORS_CONF))
			die("--cores %s: this machine has cores 0 to %ld", text,
			    sysconf(_SC_NPROCESSORS_CONF) - 1);
		for (; from <= to; from++) {
			if (config.nr_cores == SSTATS_MAX_CORES)
				die("--cores %s: at most %u cores", text, SSTATS_MAX_CORES);
			config.cores[config.nr_cores++] = (int)from;
		}
		p = end + 1;
		if (*end && *end != ',')
			die("--cores %s: give a list such as 1,3-5", text);
		if (!*end)
			return;
	} while (true);
}

static unsigned choice(const char *name, const char *text, const char *const *words, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(text, words[i]))
			return i;
	die("--%s %s: not one of its values; see --help", name, text);
}

static void parse_options(int argc, char **argv)
{
	static const char *const polls[] = {"adaptive", "dedicated"};
	static const char *const formats[] = {"text", "json"};
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	char err[SCHED_TEXT_MAX];
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case O_UPLINK:
			config.uplink = optarg;
			break;
		case O_SOCKET:
			config.socket = optarg;
			break;
		case O_CLIENT_FD:
			config.client_fd = (int)number("client-fd", optarg, 0, 1 << 20);
			break;
		case O_NET:
			network(optarg);
			break;
		case O_GATEWAY:
			address("gateway", optarg, &config.gateway);
			break;
		case O_DNS:
			address("dns", optarg, &config.dns);
			break;
		case O_ALLOW:
			if (rules_add(optarg, err, sizeof(err)) < 0)
				die("%s", err);
			break;
		case O_ALLOW_ALL:
			config.allow_all = true;
			break;
		case O_POLL:
			config.dedicated = choice("poll", optarg, polls, 2) == 1;
			break;
		case O_CORE:
			config.own_core =
				(int)number("core", optarg, 0, sysconf(_SC_NPROCESSORS_CONF) - 1);
			break;
		case O_CORES:
			core_list(optarg);
			break;
		case O_BUFFERS:
			config.nr_buffers = (uint32_t)number("buffers", optarg, 512, 500000);
			break;
		case O_FAULT:
			config.fault = optarg;
			break;
		case O_PCAP:
			config.pcap = optarg;
			break;
		case O_PCAP_LIMIT:
			config.pcap_limit = number("pcap-limit", optarg, 24, 1ul << 62);
			break;
		case O_LOG_FORMAT:
			log_json = choice("log-format", optarg, formats, 2) == 1;
			break;
		case O_LOG_LEVEL:
			log_max = (enum log_level)choice("log-level", optarg, levels, 4);
			break;
		case 'h':
			fputs(help, stdout);
			exit(0);
		default:
			die("see --help");
		}
	}
	if (optind < argc)
		die("%s: no such argument; see --help", argv[optind]);
}

static void complete_options(void)
{
	static char path[200];
	const char *env = getenv(SCHED_SOCKET_ENV), *runtime = getenv("XDG_RUNTIME_DIR");

	if (!config.net.family)
		network("10.200.0.0/16");
	if (!config.gateway.family) {
		config.gateway = config.net;
		put_be32(config.gateway.bytes, get_be32(config.net.bytes) | 1);
	}
	config.gateway.prefix = 0;
	if (config.dedicated && (config.own_core == -1 || !config.nr_cores))
		die("--poll dedicated: which core is ours and which are the instances'? give "
		    "--core N and --cores LIST");
	if (!config.dedicated && config.nr_cores)
		die("--cores: cores are given out with --poll dedicated only");
	for (uint32_t i = 0; i < config.nr_cores; i++)
		if (config.cores[i] == config.own_core)
			die("--cores: core %d is the scheduler's own", config.own_core);
	if (config.client_fd != -1 && config.socket)
		die("--client-fd: takes the place of --socket; give one of them");
	if (config.socket || config.client_fd != -1)
		return;
	if (env && *env) {
		config.socket = env;
	} else if (getuid() == 0) {
		config.socket = SCHED_SOCKET_ROOT;
	} else if (runtime && *runtime) {
		snprintf(path, sizeof(path), SCHED_SOCKET_USER, runtime);
		config.socket = path;
	} else {
		die("no place for the control socket: $XDG_RUNTIME_DIR is not set; give --socket "
		    "PATH");
	}
}

static void pin(void)
{
	cpu_set_t set;

	if (config.own_core == -1)
		return;
	CPU_ZERO(&set);
	CPU_SET(config.own_core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == -1)
		die("--core %d: cannot run there: %s", config.own_core, strerror(errno));
}

static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Two descriptors an instance: as many as we may have. */
static void raise_limits(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

int main(int argc, char **argv)
{
	char err[SCHED_TEXT_MAX] = "";

	parse_options(argc, argv);
	complete_options();
	clock_init();
	block_signals();
	raise_limits();
	if (fault_init(config.fault, err, sizeof(err)) < 0)
		die("%s", err);
	if (stats_init() < 0)
		die("no memory for the statistics: %s", strerror(errno));
	if (config.pcap && pcap_start(config.pcap, config.pcap_limit) < 0)
		die("--pcap %s: %s", config.pcap, strerror(errno));
	if (port_open(config.uplink, err, sizeof(err)) < 0)
		die("%s", err);
	pin(); /* after DPDK, which sets an affinity of its own */
	if (doorbell_init() < 0)
		die("no doorbells: %s", strerror(errno));
	if (cores_init() < 0)
		die("cores: %s%s", strerror(errno),
		    errno == EPERM ? "; --poll dedicated needs root (CAP_SYS_NICE)" : "");
	if (control_open(config.socket, config.client_fd, err, sizeof(err)) < 0) {
		cores_exit();
		port_close();
		die("%s", err);
	}
	log_line(LOG_INFO, "main", "ready", "socket=%s poll=%s",
		 config.socket ? config.socket : "client-fd",
		 config.dedicated ? "dedicated" : "adaptive");
	loop_run();
	control_close();
	cores_exit();
	doorbell_exit();
	fault_exit();
	port_close();
	pcap_stop();
	return 0;
}
