# The guest that tells whether guests run: a boot sector that goes the way of every kernel, from real
# mode to protected mode to long mode with paging, prints OK on COM1 and leaves through QEMU's
# debug exit (port 0xf4).
#
# Its machine code is in guest.rs, so that no assembler is needed to build. After a change:
#   as --64 -o guest.o guest.S
#   ld -m elf_x86_64 -Ttext=0x7c00 --oformat binary -o guest.bin guest.o

    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    lgdt gdt_pointer
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmp $0x08, $protected
    .code32
protected:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    # Page tables at 0x1000, 0x2000, 0x3000: the first 2 MiB, one to one.
    movl $0x1000, %edi
    movl %edi, %cr3
    xorl %eax, %eax
    movl $0xc00, %ecx
    rep stosl
    movl $0x2003, 0x1000
    movl $0x3003, 0x2000
    movl $0x83, 0x3000
    movl %cr4, %eax
    orb $0x20, %al
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orb $0x1, %ah
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmp $0x18, $long
    .code64
long:
    xorl %eax, %eax
    cpuid
    movw $0x3f8, %dx
    movb $'O', %al
    outb %al, %dx
    movb $'K', %al
    outb %al, %dx
    movb $'\n', %al
    outb %al, %dx
    movb $0x2a, %al
    outb %al, $0xf4
halt:
    hlt
    jmp halt
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff
    .quad 0x00cf92000000ffff
    .quad 0x00af9a000000ffff
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt
