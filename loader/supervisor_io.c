/*
 * supervisor_io.c - standard streams of an instance: rings on one side, file descriptors on the other.
 *
 * The main thread does all reads and writes and must not sleep in one: a reader that takes nothing of
 * stdout may be waiting for a line on stderr. So it asks poll(2) first and writes at most PIPE_BUF bytes
 * for each POLLOUT, which a pipe then takes at once. What cannot go on is handed to the poller thread,
 * which only polls, and rings the doorbell that the main thread sleeps on. Most programs never need it.
 */
#include "loader/supervisor_io.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POLLER_STACK 65536

void sio_init(struct sio *io, struct loader_instance *inst, const struct supervisor_streams *streams)
{
	static const enum ctl_ring_id ids[] = {CTL_RING_STDOUT, CTL_RING_STDERR, CTL_RING_LOG};

	*io = (struct sio){.control = inst->control, .pidfd = inst->pidfd, .poller_event = -1};
	for (int i = 0; i < SIO_NR_OUT; i++) {
		struct sio_stream *s = &io->out[i];
		int stream = i == SIO_STDOUT ? 1 : 2;

		ring_init(&s->ring, inst->control, ids[i]);
		s->fd = stream;
		s->regular = streams->kind[stream] == CTL_STREAM_FILE ||
			     streams->kind[stream] == CTL_STREAM_NULL;
		if (streams->kind[stream] == CTL_STREAM_CLOSED)
			s->error = EBADF;
	}
	ring_init(&io->in, inst->control, CTL_RING_STDIN);
	io->in_kind = streams->kind[0];
}

static void *poller_main(void *arg)
{
	static const struct {
		int fd;
		short events;
	} sources[] = {{0, POLLIN}, {1, POLLOUT}, {2, POLLOUT}}; /* in the order of SIO_POLL_* */
	struct sio *io = arg;

	for (;;) {
		uint32_t request = __atomic_load_n(&io->poller_request, __ATOMIC_SEQ_CST), fired = 0;
		struct pollfd p[4] = {{.fd = io->poller_event, .events = POLLIN}};
		uint64_t count;

		for (int i = 0; i < 3; i++) {
			p[i + 1].fd = request & 1u << i ? sources[i].fd : -1;
			p[i + 1].events = sources[i].events;
		}
		if (poll(p, 4, -1) == -1)
			continue;
		if (p[0].revents && read(io->poller_event, &count, sizeof(count)) == -1)
			continue;
		for (int i = 0; i < 3; i++)
			if (p[i + 1].revents)
				fired |= 1u << i;
		if (fired) {
			__atomic_fetch_and(&io->poller_request, ~fired, __ATOMIC_SEQ_CST);
			__atomic_fetch_add(&io->control->doorbell, 1, __ATOMIC_SEQ_CST);
			ring_wake(&io->control->doorbell);
		}
	}
	return NULL;
}

/* Signals are for the main thread only. Without a thread, must_retry makes the caller look again. */
static void start_poller(struct sio *io)
{
	pthread_attr_t attr;
	sigset_t all, old;

	io->poller_event = eventfd(0, EFD_CLOEXEC);
	if (io->poller_event == -1)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POLLER_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	io->has_poller = !pthread_create(&io->poller, &attr, poller_main, io);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void ask_poller(struct sio *io, uint32_t bit)
{
	uint64_t one = 1;

	if (!io->has_poller)
		start_poller(io);
	if (!io->has_poller) {
		io->must_retry = true;
		return;
	}
	if (__atomic_fetch_or(&io->poller_request, bit, __ATOMIC_SEQ_CST) & bit)
		return;
	while (write(io->poller_event, &one, sizeof(one)) == -1 && errno == EINTR)
		;
}

static bool is_ready(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, 0) > 0;
}

static bool has_hung_up(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLIN | POLLHUP)) == POLLHUP;
}

static bool poller_asked(const struct sio *io, uint32_t bit)
{
	return io->has_poller && __atomic_load_n(&io->poller_request, __ATOMIC_SEQ_CST) & bit;
}

/* The bytes have gone, or nobody will ever take them. */
static void consumed(struct sio *io, struct sio_stream *s, uint32_t len)
{
	if (!ring_consume(&s->ring, len))
		return;
	ring_wake(&s->ring.shared->tail);
	ring_kick(io->control, io->pidfd);
}

/*
 * One write of at most `len` bytes. Returns bytes, or 0 when it must wait, or when the stream has just
 * been closed for an error.
 */
static uint32_t write_some(struct sio_stream *s, uint32_t len)
{
	struct iovec iov[2];
	ssize_t n;
	int nr;

	nr = ring_pieces(&s->ring, len, iov);
	n = writev(s->fd, iov, nr);
	if (n > 0)
		return n;
	if (n == -1 && errno == EINTR)
		return 0;
	if (n == 0 || errno == EAGAIN) {
		s->blocked = true;
		return 0;
	}
	s->error = errno;
	__atomic_store_n(&s->ring.shared->consumer_closed, s->error, __ATOMIC_SEQ_CST);
	return 0;
}

static int pump_out(struct sio *io, struct sio_stream *s, uint32_t bit)
{
	int64_t len = ring_readable(&s->ring);
	int moved = 0;

	if (len <= 0)
		return len;
	if (poller_asked(io, bit))
		return 0;
	/* One ring's worth at most, then it is the other streams' turn. */
	while (len > 0 && !s->error) {
		uint32_t chunk = len, n;

		s->blocked = !s->regular && !is_ready(s->fd, POLLOUT);
		if (!s->regular && chunk > PIPE_BUF)
			chunk = PIPE_BUF;
		n = s->blocked ? 0 : write_some(s, chunk);
		if (!n)
			break;
		consumed(io, s, n);
		len -= n;
		moved = 1;
	}
	if (s->error) {
		consumed(io, s, len);
		moved = 1;
	} else if (s->blocked) {
		ask_poller(io, bit);
	}
	return moved;
}

/* Reads what the program asked for, and not a byte more. True: the request is answered. */
static bool answer_read(struct sio *io, uint32_t len)
{
	struct iovec iov[2];
	ssize_t n;
	int nr;

	nr = ring_pieces(&io->in, len, iov);
	do {
		n = readv(0, iov, nr);
	} while (n == -1 && errno == EINTR && is_ready(0, POLLIN));
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0)
		ring_produce(&io->in, n);
	__atomic_store_n(&io->in.shared->producer_closed, n <= 0, __ATOMIC_SEQ_CST);
	return true;
}

static int pump_in(struct sio *io)
{
	struct control *c = io->control;
	uint32_t want = __atomic_load_n(&c->stdin_want, __ATOMIC_SEQ_CST);
	uint32_t poll_wanted = __atomic_load_n(&c->stdin_poll, __ATOMIC_SEQ_CST);
	int64_t room;
	int moved = 0;

	if (!want && !poll_wanted)
		return 0;
	room = ring_writable(&io->in);
	if (room < 0)
		return -1;
	if (poller_asked(io, SIO_POLL_STDIN))
		return 0;
	if (io->in_kind != CTL_STREAM_FILE && io->in_kind != CTL_STREAM_NULL &&
	    io->in_kind != CTL_STREAM_CLOSED && !is_ready(0, POLLIN)) {
		ask_poller(io, SIO_POLL_STDIN);
		return 0;
	}
	if (poll_wanted) {
		/* Nothing but a hang-up: the end of a pipe, known without a read. */
		if (has_hung_up(0))
			__atomic_store_n(&io->in.shared->producer_closed, 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&c->stdin_poll, 0, __ATOMIC_SEQ_CST);
		__atomic_store_n(&c->stdin_ready, 1, __ATOMIC_SEQ_CST);
		ring_wake(&c->stdin_ready);
		moved = 1;
	}
	if (want > room)
		want = room;
	if (want && answer_read(io, want)) {
		__atomic_store_n(&c->stdin_want, 0, __ATOMIC_SEQ_CST);
		ring_wake(&io->in.shared->head);
		moved = 1;
	} else if (want) {
		ask_poller(io, SIO_POLL_STDIN); /* another reader was faster */
	}
	if (moved)
		ring_kick(c, io->pidfd);
	return moved;
}

int sio_pump(struct sio *io)
{
	int moved = 0, n;

	io->must_retry = false;
	for (int i = 0; i < SIO_NR_OUT; i++) {
		n = pump_out(io, &io->out[i], i == SIO_STDOUT ? SIO_POLL_STDOUT : SIO_POLL_STDERR);
		if (n < 0)
			return -1;
		moved |= n;
	}
	n = pump_in(io);
	return n < 0 ? -1 : moved | n;
}

bool sio_has_output(const struct sio *io)
{
	for (int i = 0; i < SIO_NR_OUT; i++)
		if (!io->out[i].error && ring_readable(&io->out[i].ring) > 0)
			return true;
	return false;
}

void sio_drain(struct sio *io)
{
	for (int i = 0; i < SIO_NR_OUT; i++) {
		struct sio_stream *s = &io->out[i];
		int64_t len;

		while (!s->error && (len = ring_readable(&s->ring)) > 0) {
			uint32_t n = write_some(s, len);

			s->ring.index += n;
			if (!n && s->blocked)
				poll(&(struct pollfd){.fd = s->fd, .events = POLLOUT}, 1, -1);
		}
	}
}
