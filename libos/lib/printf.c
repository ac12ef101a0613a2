/*
 * printf.c - vsnprintf for the library OS: integers and strings, no floating point.
 */
#include "libos/lib/printf.h"
#include "libos/lib/string.h"

struct out {
	char *buf;
	size_t size, len;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_padded(struct out *o, const char *s, size_t n, int width, bool left, char pad)
{
	if (pad == '0' && n && *s == '-') {
		put(o, *s++);
		n--;
		width--;
	}
	if (!left) {
		for (int i = (int)n; i < width; i++)
			put(o, pad);
	}
	for (size_t i = 0; i < n; i++)
		put(o, s[i]);
	if (left) {
		for (int i = (int)n; i < width; i++)
			put(o, ' ');
	}
}

static size_t format_number(char *end, u64 v, unsigned base, bool upper)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char *p = end;

	do {
		*--p = digits[v % base];
		v /= base;
	} while (v);
	return end - p;
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = { buf, size, 0 };

	for (; *fmt; fmt++) {
		bool left = false, neg = false, alt = false;
		char pad = ' ', tmp[32], *end = tmp + sizeof(tmp);
		int width = 0, prec = -1, lng = 0;
		unsigned base = 10;
		size_t n;
		u64 v;

		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		for (fmt++; *fmt == '0' || *fmt == '-' || *fmt == '#'; fmt++) {
			if (*fmt == '-')
				left = true;
			else if (*fmt == '#')
				alt = true;
			else if (*fmt == '0')
				pad = '0';
		}
		if (*fmt == '*') {
			width = va_arg(ap, int);
			fmt++;
		}
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + *fmt - '0';
		if (*fmt == '.') {
			fmt++;
			prec = 0;
			if (*fmt == '*') {
				prec = va_arg(ap, int);
				fmt++;
			}
			for (; *fmt >= '0' && *fmt <= '9'; fmt++)
				prec = prec * 10 + *fmt - '0';
		}
		for (; *fmt == 'l' || *fmt == 'z' || *fmt == 'h'; fmt++) {
			if (*fmt != 'h')
				lng = 1;
		}
		switch (*fmt) {
		case 'd':
		case 'i': {
			s64 s = lng ? va_arg(ap, long) : va_arg(ap, int);

			neg = s < 0;
			v = neg ? -(u64)s : (u64)s;
			n = format_number(end, v, 10, false);
			if (neg)
				end[-1 - (long)n++] = '-';
			put_padded(&o, end - n, n, width, left, pad);
			break;
		}
		case 'p':
			put(&o, '0');
			put(&o, 'x');
			lng = 1;
			base = 16;
			goto number;
		case 'x':
		case 'X':
			base = 16;
			goto number;
		case 'o':
			base = 8;
			goto number;
		case 'u':
		number:
			v = lng ? va_arg(ap, unsigned long) : va_arg(ap, unsigned int);
			n = format_number(end, v, base, *fmt == 'X');
			if (alt && v && base != 10) {
				if (base == 16)
					end[-1 - (long)n++] = *fmt;
				end[-1 - (long)n++] = '0';
			}
			put_padded(&o, end - n, n, width, left, pad);
			break;
		case 'c':
			tmp[0] = (char)va_arg(ap, int);
			put_padded(&o, tmp, 1, width, left, ' ');
			break;
		case 's': {
			const char *s = va_arg(ap, const char *);

			if (!s)
				s = "(null)";
			put_padded(&o, s, prec >= 0 ? strnlen(s, prec) : strlen(s), width, left, ' ');
			break;
		}
		case '%':
			put(&o, '%');
			break;
		default:
			put(&o, '?');
		}
	}
	if (size)
		buf[o.len < size ? o.len : size - 1] = 0;
	return (int)o.len;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}

size_t scnprintf_at(char *buf, size_t size, size_t pos, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (pos >= size)
		return pos;
	va_start(ap, fmt);
	n = vsnprintf(buf + pos, size - pos, fmt, ap);
	va_end(ap);
	return min(pos + (size_t)n, size - 1);
}
