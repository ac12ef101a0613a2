/*
 * top_show.c - the picture of `junction top`, and its JSON.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "builder/top.h"

struct page {
	FILE *f;
	unsigned rows, cols; /* left; 0 of cols: no limit */
	const char *eol;
};

__attribute__((format(printf, 2, 3))) static void line(struct page *p, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!p->rows)
		return;
	p->rows--;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Names come from whoever attached: nothing that a terminal would obey. */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	if (p->cols && strlen(text) > p->cols)
		text[p->cols] = 0;
	fprintf(p->f, "%s%s", text, p->eol);
}

/* 1234567 as "1.23M". */
static const char *number(double v, char buf[16])
{
	static const char units[] = " kMGT";
	unsigned u = 0;

	while (v >= 9999.5 && u + 1 < sizeof(units) - 1) {
		v /= 1000;
		u++;
	}
	if (!u)
		snprintf(buf, 16, "%.0f", v);
	else
		snprintf(buf, 16, v < 10 ? "%.2f%c" : v < 100 ? "%.1f%c" : "%.0f%c", v, units[u]);
	return buf;
}

static const char *duration(uint64_t ns, char buf[16])
{
	if (!ns)
		snprintf(buf, 16, "-");
	else if (ns < 10000)
		snprintf(buf, 16, "%.1fus", (double)ns / 1e3);
	else if (ns < 10000000)
		snprintf(buf, 16, "%.0fus", (double)ns / 1e3);
	else if (ns < 10000000000ull)
		snprintf(buf, 16, "%.0fms", (double)ns / 1e6);
	else
		snprintf(buf, 16, "%.0fs", (double)ns / 1e9);
	return buf;
}

static uint64_t all_drops(const uint64_t drops[SDROP_NR])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < SDROP_NR; i++)
		sum += drops[i];
	return sum;
}

static const struct sstats_instance *by_id(const struct top_sample *s, uint32_t id)
{
	for (uint32_t i = 0; i < s->nr; i++)
		if (s->instances[i].id == id)
			return &s->instances[i];
	return NULL;
}

static void print_cores(struct page *p, const struct top_sample *now)
{
	char text[512] = "";
	size_t len = 0;

	if (!now->head.poll_mode) {
		line(p, "cores   the host schedules (adaptive mode)");
		return;
	}
	for (uint32_t i = 0; i < now->head.nr_cores && len < sizeof(text) - 80; i++) {
		const struct sstats_instance *in = by_id(now, now->head.core_instance[i]);

		len += (size_t)snprintf(text + len, sizeof(text) - len, "  %u: %s", i,
					in			     ? in->name
					: now->head.core_instance[i] ? "?"
								     : "idle");
	}
	line(p, "cores %s", text);
}

static void print_drops(struct page *p, const struct top_sample *then, const struct top_sample *now)
{
	for (unsigned i = 0; i < SDROP_NR; i++) {
		uint64_t sum = now->head.drops[i], before = then->head.drops[i];
		char a[16], b[16];

		if (sum)
			line(p, "drops   %-34s %10s  %s/s", top_drop_texts[i],
			     number((double)sum, a), number(top_rate(then, now, before, sum), b));
	}
}

static void print_head(struct page *p, const struct top_sample *then, const struct top_sample *now)
{
	uint64_t up =
		now->at > now->head.started_ns ? (now->at - now->head.started_ns) / 1000000000 : 0;
	double loops = top_rate(then, now, then->head.loops, now->head.loops);
	double busy = top_rate(then, now, then->head.busy_loops, now->head.busy_loops);
	char a[16], b[16], c[16], d[16];

	line(p, "scheduler %u, %s, uplink %s, up %lu:%02lu:%02lu, %u instance%s", now->head.pid,
	     now->head.poll_mode ? "dedicated" : "adaptive",
	     now->head.uplink[0] ? now->head.uplink : "none", (unsigned long)(up / 3600),
	     (unsigned long)(up / 60 % 60), (unsigned long)(up % 60), now->nr,
	     now->nr == 1 ? "" : "s");
	line(p, "loop    %s turns/s, %.0f %% with work, an idle one takes %.0f ns; %s sleeps/s",
	     number(loops, a), loops > 0 ? 100 * busy / loops : 0, top_loop_ns(then, now),
	     number(top_rate(then, now, then->head.sleeps, now->head.sleeps), b));
	line(p, "uplink  rx %s packets/s %sbit/s   tx %s packets/s %sbit/s",
	     number(top_rate(then, now, then->head.rx_packets, now->head.rx_packets), a),
	     number(8 * top_rate(then, now, then->head.rx_bytes, now->head.rx_bytes), b),
	     number(top_rate(then, now, then->head.tx_packets, now->head.tx_packets), c),
	     number(8 * top_rate(then, now, then->head.tx_bytes, now->head.tx_bytes), d));
	print_cores(p, now);
	print_drops(p, then, now);
}

struct row {
	const struct sstats_instance *now, *then;
	double load;
};

static int by_load(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->load != y->load)
		return x->load < y->load ? 1 : -1;
	return x->now->id < y->now->id ? -1 : 1;
}

static void print_instance(struct page *p, const struct top_sample *then,
			   const struct top_sample *now, const struct row *r)
{
	const struct sstats_instance *in = r->now;
	char addr[48], b[8][16];

	top_address(in, addr, sizeof(addr));
	line(p, "%5u %-20.20s %-15s %7d %5lu %6.1f %8s %8s %8s %8s %7s %7s %7s %8s %8s", in->id,
	     in->name, addr, in->pid, (unsigned long)in->cores,
	     top_rate(then, now, r->then->core_ns, in->core_ns) / 1e7,
	     number(top_rate(then, now, r->then->rx_packets, in->rx_packets), b[0]),
	     number(top_rate(then, now, r->then->tx_packets, in->tx_packets), b[1]),
	     number((double)all_drops(in->drops), b[2]),
	     number(top_rate(then, now, r->then->wakes, in->wakes), b[3]),
	     duration(in->queue_delay_ns, b[4]), duration(in->wake_ns_p50, b[5]),
	     duration(in->wake_ns_p99, b[6]),
	     number(top_rate(then, now, r->then->preemptions, in->preemptions), b[7]),
	     in->stopped ? "STOPPED" : "");
	if (in->stopped)
		line(p, "      stopped: %s", in->stop_reason);
}

void top_print(FILE *f, const struct top_sample *then, const struct top_sample *now, unsigned rows,
	       unsigned cols, const char *eol)
{
	struct page p = {f, rows ? rows : UINT32_MAX, cols, eol};
	struct row *v = calloc(now->nr ? now->nr : 1, sizeof(*v));

	print_head(&p, then, now);
	line(&p, "%s", "");
	line(&p, "%5s %-20s %-15s %7s %5s %6s %8s %8s %8s %8s %7s %7s %7s %8s", "ID", "NAME",
	     "ADDRESS", "PID", "CORES", "CORE%", "RX/s", "TX/s", "DROPS", "WAKES/s", "DELAY",
	     "WAKE50", "WAKE99", "PREEMPT");
	for (uint32_t i = 0; v && i < now->nr; i++) {
		const struct sstats_instance *in = &now->instances[i], *old = top_before(then, in);

		v[i] = (struct row){in, old,
				    top_rate(then, now,
					     old->core_ns + old->rx_packets + old->tx_packets,
					     in->core_ns + in->rx_packets + in->tx_packets)};
	}
	if (v)
		qsort(v, now->nr, sizeof(*v), by_load);
	for (uint32_t i = 0; v && i < now->nr; i++)
		print_instance(&p, then, now, &v[i]);
	free(v);
}

/* JSON */

static void set(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *drops_json(const uint64_t drops[SDROP_NR])
{
	json_t *o = json_object();

	for (unsigned i = 0; i < SDROP_NR; i++)
		if (drops[i])
			set(o, top_drop_texts[i], drops[i]);
	return o;
}

/* A name may hold any bytes; JSON must be UTF-8. */
static json_t *text_json(const char *s)
{
	json_t *t = json_string(s);

	return t ? t : json_string("?");
}

static json_t *instance_json(const struct top_sample *then, const struct top_sample *now,
			     const struct sstats_instance *in)
{
	const struct sstats_instance *old = top_before(then, in);
	json_t *o = json_object();
	char addr[48];

	top_address(in, addr, sizeof(addr));
	set(o, "id", in->id);
	json_object_set_new(o, "name", text_json(in->name));
	json_object_set_new(o, "address", json_string(addr));
	json_object_set_new(o, "pid", json_integer(in->pid));
	set(o, "queue_pairs", in->nr_pairs);
	json_object_set_new(o, "stopped", in->stopped ? text_json(in->stop_reason) : json_null());
	set(o, "cores", in->cores);
	set(o, "core_ns", in->core_ns);
	set(o, "rx_packets", in->rx_packets);
	set(o, "rx_bytes", in->rx_bytes);
	set(o, "tx_packets", in->tx_packets);
	set(o, "tx_bytes", in->tx_bytes);
	json_object_set_new(o, "rx_packets_per_s",
			    json_real(top_rate(then, now, old->rx_packets, in->rx_packets)));
	json_object_set_new(o, "tx_packets_per_s",
			    json_real(top_rate(then, now, old->tx_packets, in->tx_packets)));
	json_object_set_new(o, "drops", drops_json(in->drops));
	set(o, "wakes", in->wakes);
	set(o, "preemptions", in->preemptions);
	set(o, "queue_delay_ns", in->queue_delay_ns);
	set(o, "wake_ns_p50", in->wake_ns_p50);
	set(o, "wake_ns_p99", in->wake_ns_p99);
	return o;
}

void top_print_json(FILE *f, const struct top_sample *then, const struct top_sample *now)
{
	json_t *o = json_object(), *cores = json_array(), *instances = json_array();

	set(o, "pid", now->head.pid);
	json_object_set_new(o, "poll", json_string(now->head.poll_mode ? "dedicated" : "adaptive"));
	json_object_set_new(o, "uplink", text_json(now->head.uplink));
	set(o, "up_ns", now->at - now->head.started_ns);
	set(o, "interval_ns", now->at - then->at);
	set(o, "loops", now->head.loops);
	set(o, "busy_loops", now->head.busy_loops);
	set(o, "sleeps", now->head.sleeps);
	json_object_set_new(o, "idle_loop_ns", json_real(top_loop_ns(then, now)));
	set(o, "uplink_rx_packets", now->head.rx_packets);
	set(o, "uplink_rx_bytes", now->head.rx_bytes);
	set(o, "uplink_tx_packets", now->head.tx_packets);
	set(o, "uplink_tx_bytes", now->head.tx_bytes);
	json_object_set_new(o, "drops", drops_json(now->head.drops));
	for (uint32_t i = 0; i < now->head.nr_cores; i++)
		json_array_append_new(cores, json_integer(now->head.core_instance[i]));
	json_object_set_new(o, "cores", cores);
	for (uint32_t i = 0; i < now->nr; i++)
		json_array_append_new(instances, instance_json(then, now, &now->instances[i]));
	json_object_set_new(o, "instances", instances);
	json_dumpf(o, f, JSON_COMPACT);
	fputc('\n', f);
	json_decref(o);
}
