/*
 * layout.h - where things stand in the address space of an instance.
 *
 * One reserved window holds everything of the library OS; the application owns the rest. The addresses
 * are fixed so that a sealed image can be mapped without relocation and so that every libOS pointer
 * stays valid in each host process that shares the arena (DESIGN D4, D7b). The window lies where
 * neither programs, Go heap hints, nor sanitizer shadows go.
 */
#ifndef JUNCTION_ABI_LAYOUT_H
#define JUNCTION_ABI_LAYOUT_H

#define JUNCTION_PAGE_SIZE 4096ul
#define JUNCTION_PAGE_SHIFT 12

/* The reserved window [LIBOS_WINDOW_START, LIBOS_WINDOW_END): the application cannot map here. */
#define LIBOS_WINDOW_START 0x480000000000ul
#define LIBOS_WINDOW_END 0x490000000000ul

/* Text, rodata and the vDSO of the libOS, mapped from the image. */
#define LIBOS_TEXT_BASE 0x480000000000ul
/*
 * The control region shared with the supervisor (control.h), and behind it one executable page of the
 * loader, the code by which kthreads enter, which the libOS may unmap. Both below the arena, so that
 * text, control and the start of the arena share page tables: a start touches few pages of each.
 */
#define LIBOS_CONTROL_BASE 0x48000fe00000ul
#define LOADER_STUB_BASE 0x48000ff00000ul
/* The arena: .data and .bss of the libOS first, then its heap. Within 2 GiB of the text at its start. */
#define LIBOS_ARENA_BASE 0x480010000000ul
#define LIBOS_ARENA_MAX 0x000400000000ul /* 16 GiB of address space */
/* The unpacked root file system of the image, read-only. */
#define LIBOS_ROOTFS_BASE 0x481000000000ul
/* Queue pairs and packet buffers, shared with the device (nic.h). */
#define LIBOS_NIC_BASE 0x482000000000ul
/* Page store for tmpfs files, shared anonymous memory and memfds. */
#define LIBOS_SHM_BASE 0x483000000000ul
#define LIBOS_SHM_MAX 0x001000000000ul
/* A thread's fs base after the host lost it (control.h); nothing is mapped within 4 GiB of it. */
#define LIBOS_FS_LOST 0x48c000000000ul

/* Highest user address on x86-64 with four-level page tables (exclusive). */
#define USER_ADDR_MAX 0x7ffffffff000ul
/* Lowest address an application may map (vm.mmap_min_addr). */
#define USER_ADDR_MIN 0x10000ul

/*
 * The first words of the per-kthread block that %gs points at. A rewritten system call site reads
 * the entry point from there, so these offsets are part of the image format:
 *
 *     rdgsbase %rcx; jrcxz native        # no libOS below us: plain Linux
 *     lea ret(%rip), %rcx; jmp *%gs:GS_SYSCALL_ENTRY
 *   native: syscall
 */
#define GS_SELF 0
#define GS_SYSCALL_ENTRY 8

#endif
