/*
 * procnet.h - files of /proc/net, each by who knows what is in it.
 */
#ifndef LIBOS_NET_PROCNET_H
#define LIBOS_NET_PROCNET_H

struct text;
struct inode;

void procnet_unix(struct text *t, const struct inode *i); /* unix.c */
/* procnet.c */
void procnet_dev(struct text *t, const struct inode *i);
void procnet_route(struct text *t, const struct inode *i);
void procnet_arp(struct text *t, const struct inode *i);
void procnet_udp(struct text *t, const struct inode *i);
void procnet_snmp(struct text *t, const struct inode *i);
void procnet_tcp(struct text *t, const struct inode *i);

#endif
