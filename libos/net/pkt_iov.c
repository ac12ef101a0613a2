/*
 * pkt_iov.c - between packets and the memory of the application.
 */
#include "libos/net/pkt_iov.h"

struct pkt *pkt_from_iter(struct iov_iter *it, u32 n)
{
	struct pkt *p = pkt_alloc(PKT_HEADROOM);
	u32 part = min(n, NBUF_SIZE - PKT_HEADROOM), nb;
	long err = -ENOBUFS;

	if (!p)
		return err_ptr(err);
	if (part && iov_copy_from(it, pkt_put(p, part), part) != part)
		goto fault;
	for (n -= part; n; n -= part) {
		part = min(n, NBUF_SIZE);
		nb = nbuf_alloc();
		if (nb == NBUF_NONE)
			goto fail;
		if (pkt_add_frag(p, nb, 0, part)) {
			nbuf_put(nb);
			err = -EMSGSIZE;
			goto fail;
		}
		if (iov_copy_from(it, nbuf_addr(nb), part) != part)
			goto fault;
	}
	return p;
fault:
	err = -EFAULT;
fail:
	pkt_free(p);
	return err_ptr(err);
}

size_t pkt_to_iter(const struct pkt *p, u32 off, struct iov_iter *it, u32 n)
{
	size_t done = 0;
	u32 part;

	if (off < p->len) {
		part = min(n, p->len - off);
		done = iov_copy_to(it, p->data + off, part);
		if (done != part)
			return done;
		n -= part;
		off = 0;
	} else {
		off -= p->len;
	}
	for (u32 i = 0; i < p->nr_frags && n; i++) {
		const struct pkt_frag *f = &p->frags[i];
		size_t r;

		if (off >= f->len) {
			off -= f->len;
			continue;
		}
		part = min(n, f->len - off);
		r = iov_copy_to(it, nbuf_addr(f->nb) + f->off + off, part);
		done += r;
		if (r != part)
			break;
		n -= part;
		off = 0;
	}
	return done;
}
