/*
 * libos_blob.S - the library OS, inside the junction program.
 */
	.section .rodata.libos, "a", @progbits
	.balign 4096
	.globl libos_blob_start
	.hidden libos_blob_start
libos_blob_start:
	.incbin LIBOS_ELF
	.globl libos_blob_end
	.hidden libos_blob_end
libos_blob_end:
	.section .note.GNU-stack, "", @progbits
