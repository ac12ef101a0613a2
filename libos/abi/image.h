/*
 * image.h - the sealed image and its unpacked form. The format is specified in image.md beside this file.
 *
 * A sealed image is one ELF64 executable. Its PT_LOAD segments are the library OS. What else it holds
 * is found through struct jimg_header, which stands at a fixed offset of page 0 (and is also a PT_NOTE,
 * so that readelf shows it). All integers are little-endian. All offsets are from the start of the file.
 */
#ifndef JUNCTION_ABI_IMAGE_H
#define JUNCTION_ABI_IMAGE_H

#include <stdint.h>

#define JIMG_MAGIC "JUNCIMG\x1a"
#define JIMG_VERSION 1
#define JIMG_HEADER_OFFSET 1024ul
#define JIMG_HASH_BLOCK 65536ul /* bytes a leaf of the hash tree covers */
#define JIMG_CHUNK_SIZE 262144ul /* bytes of root file system a compressed chunk holds */
#define JIMG_HASH_LEN 32
#define JIMG_MAX_FILE (1ull << 36)

#define JIMG_MAX_ROOTFS (1ull << 34) /* bytes of an unpacked root file system */
#define JIMG_NOTE_OFFSET 1000ul /* the note's own header, right before struct jimg_header */
#define JIMG_NOTE_NAME "JUNCTION"
#define JIMG_NOTE_TYPE 1
#define JIMG_MAX_PHDRS 16 /* they end below the note */
#define JIMG_MAX_SHDRS 32

#define JIMG_SIGNED 1u /* flags: public_key and signature are set */
#define JIMG_SIGN_CONTEXT "JUNCTION IMAGE 1" /* 16 bytes, signed in front of the root */

struct jimg_range {
	uint64_t off, len;
};

/*
 * The seal. root = BLAKE2b-256 over the concatenated leaf hashes, keyed by nothing, each leaf the
 * BLAKE2b-256 of one JIMG_HASH_BLOCK of file [0, tree.off) with root, public_key, signature and flags
 * read as zero. The tree is the last thing in the file: tree.off + tree.len == file_size.
 * signature = Ed25519 over JIMG_SIGN_CONTEXT and root.
 */
struct jimg_header {
	char magic[8];
	uint32_t version;
	uint32_t flags;
	uint64_t file_size;
	struct jimg_range manifest; /* JSON, for people and tools */
	struct jimg_range record; /* struct jimg_record, for loader and libOS */
	struct jimg_range chunks; /* array of struct jimg_chunk */
	struct jimg_range data; /* compressed chunks */
	struct jimg_range tree; /* leaf hashes */
	uint64_t rootfs_size; /* bytes of the unpacked root file system, a multiple of a page */
	uint8_t reserved[64]; /* zero */
	uint8_t root[JIMG_HASH_LEN];
	uint8_t public_key[32];
	uint8_t signature[64];
};
_Static_assert(sizeof(struct jimg_header) == 304, "jimg_header is part of the file format");

/* A chunk holds JIMG_CHUNK_SIZE bytes of the root file system (the last may hold less). */
struct jimg_chunk {
	uint64_t off; /* in the file */
	uint32_t len; /* stored bytes */
	uint32_t raw_len; /* bytes after decompression; equal to len where stored uncompressed */
};
_Static_assert(sizeof(struct jimg_chunk) == 16, "jimg_chunk is part of the file format");

/*
 * The boot record: what the manifest says, flat. Strings stand behind the struct, NUL-terminated; a
 * string list is `count` strings one behind the other. Offsets are from the start of the record.
 */
#define JREC_MAGIC 0x3143455254434e4aull /* "JNCTREC1" */
#define JREC_MAX_PORTS 16
#define JREC_MAX_SIZE (256ul << 10)

struct jrec_strings {
	uint32_t off, count;
};

struct jimg_record {
	uint64_t magic;
	uint64_t size; /* of the whole record with its strings */
	struct jrec_strings name; /* count 1 */
	struct jrec_strings entry; /* absolute path of the program in the root file system */
	struct jrec_strings args; /* default arguments, argv[1..] */
	struct jrec_strings env; /* K=V */
	struct jrec_strings workdir;
	uint32_t uid, gid;
	uint32_t max_cores; /* 0: the host's choice */
	uint32_t nr_ports;
	uint16_t ports[JREC_MAX_PORTS];
	uint64_t memory_limit; /* bytes, 0: none stated */
	uint64_t reserved[4]; /* zero */
};
_Static_assert(sizeof(struct jimg_record) == 144, "jimg_record is part of the file format");

/*
 * The root file system, as it is unpacked and mapped at LIBOS_ROOTFS_BASE: a superblock, tables, and
 * page-aligned file data. Offsets are from the start of the root file system. Directory entries of one
 * directory are contiguous and sorted by name (memcmp order, shorter first), "." and ".." left out.
 */
#define JFS_MAX_TABLES (1ull << 30) /* bytes before the data */
#define JFS_MAGIC 0x31534654434e554aull /* "JUNCTFS1" */

struct jfs_super {
	uint64_t magic;
	uint64_t size; /* of the whole, a multiple of a page */
	uint64_t inode_off, dirent_off, names_off, site_off, data_off;
	uint64_t names_len;
	uint32_t inode_count, dirent_count, site_count, root_ino;
	uint64_t mtime; /* seconds since the epoch: the one time stamp of every file in the image */
	uint64_t reserved[3];
};
_Static_assert(sizeof(struct jfs_super) == 112, "jfs_super is part of the file format");

/* Inode n is the n-th of the table; 0 is not used, so that ino 0 never shows. */
struct jfs_inode {
	uint32_t mode; /* S_IFREG, S_IFDIR or S_IFLNK | permissions */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t size; /* bytes; of a symbolic link the target's length */
	uint64_t data_off; /* regular: page-aligned data; symlink: target, not NUL-terminated, in names */
	uint32_t first_dirent, dirent_count; /* directory */
	uint32_t first_site, site_count; /* address pairs of the trampolines in this ELF file */
	uint32_t parent; /* directory: ino of the parent (root: itself) */
	uint32_t reserved[3];
};
_Static_assert(sizeof(struct jfs_inode) == 64, "jfs_inode is part of the file format");

struct jfs_dirent {
	uint32_t ino;
	uint32_t name_off; /* in names */
	uint16_t name_len; /* 1..255 */
	uint8_t type; /* DT_* */
	uint8_t reserved[5];
};
_Static_assert(sizeof(struct jfs_dirent) == 16, "jfs_dirent is part of the file format");

/*
 * Where execution stands, in terms of the original file, at a point of a trampoline. Each rewritten
 * system call has a pair for its `syscall` instruction, and one for each displaced instruction. Values
 * are file offsets in that ELF file, so that a mapping's own (address, file offset) translates both.
 * Ascending in both members within a file; `original` may repeat. builder/rewrite.md says what the
 * library OS does with them: an application must never see, nor be resumed at, an address that only
 * rewriting has made.
 */
struct jfs_site {
	uint64_t original;
	uint64_t trampoline;
};
_Static_assert(sizeof(struct jfs_site) == 16, "jfs_site is part of the file format");

/*
 * The unpacked form: one flat file that the loader maps, in the content-addressed store or a sealed
 * memfd. Page 0 is struct jstore_header; every range is page-aligned.
 */
#define JSTORE_MAGIC 0x314552544f4e554aull /* "JUNOTRE1" */
#define JSTORE_MAX_SEGMENTS 8

struct jstore_segment {
	uint64_t vaddr, off, file_len, mem_len;
	uint32_t flags; /* PF_R | PF_W | PF_X */
	uint32_t reserved;
};

struct jstore_header {
	uint64_t magic;
	uint32_t version;
	uint32_t nr_segments;
	uint8_t root[JIMG_HASH_LEN]; /* of the sealed image it was unpacked from */
	uint64_t file_size;
	uint64_t entry; /* of the libOS: ELF e_entry */
	struct jimg_range record;
	struct jimg_range rootfs;
	struct jstore_segment segments[JSTORE_MAX_SEGMENTS];
};
_Static_assert(sizeof(struct jstore_header) == 416, "jstore_header is shared by builder and loader");

#endif
