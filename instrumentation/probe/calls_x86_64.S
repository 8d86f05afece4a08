/* SPDX-License-Identifier: Apache-2.0
 *
 * The two functions that C cannot stand in front of.
 *
 * vfork: returns twice on one stack, so no frame of ours may be on it when the child returns. While
 * the child runs, in the parent's memory, the hooks of this thread are off. The return address waits
 * in %rdi, which the system call keeps.
 *
 * syscall: may be asked for a clone, a vfork or anything else that returns elsewhere or twice. What
 * the probe does not want to know goes on to libc's as if we were not here, stack and registers
 * untouched. */
#include <cet.h> /* says in the object file that all of it keeps to CET, which is so: see vfork */

        .text

        .globl  vfork
        .type   vfork, @function
        .globl  __vfork
        .set    __vfork, vfork
vfork:
        .cfi_startproc
        endbr64
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    loopscope_before_vfork
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        .cfi_register %rip, %rdi
        movl    $58, %eax                       /* SYS_vfork */
        syscall
        testl   %eax, %eax
        je      3f                              /* the child */
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rip, 0
        pushq   %rax
        .cfi_adjust_cfa_offset 8
        call    loopscope_after_vfork
        popq    %rax
        .cfi_adjust_cfa_offset -8
        cmpl    $-4095, %eax
        jae     2f
        ret
2:      negl    %eax
        pushq   %rax
        .cfi_adjust_cfa_offset 8
        call    __errno_location@PLT
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        movl    %ecx, (%rax)
        movl    $-1, %eax
        ret
        /* With a shadow stack (rdssp is a no-op without), the entry of our return address is in the
         * memory that the parent shares with the child: the child must leave it there. */
        .cfi_adjust_cfa_offset -8
        .cfi_register %rip, %rdi
3:      xorl    %esi, %esi
        rdsspq  %rsi
        testq   %rsi, %rsi
        je      4f
        jmp     *%rdi
4:      pushq   %rdi
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rip, 0
        ret
        .cfi_endproc
        .size   vfork, .-vfork

        .globl  syscall
        .type   syscall, @function
syscall:
        .cfi_startproc
        endbr64
        cmpq    $512, %rdi
        jae     1f
        leaq    loopscope_wanted_calls(%rip), %rax
        movl    %edi, %r10d
        shrl    $6, %r10d
        movq    (%rax,%r10,8), %rax
        btq     %rdi, %rax
        jc      loopscope_syscall
1:      movq    loopscope_real_syscall(%rip), %rax
        testq   %rax, %rax
        je      2f
        jmp     *%rax
2:      pushq   %rdi                            /* before the probe has started */
        .cfi_adjust_cfa_offset 8
        pushq   %rsi
        .cfi_adjust_cfa_offset 8
        pushq   %rdx
        .cfi_adjust_cfa_offset 8
        pushq   %rcx
        .cfi_adjust_cfa_offset 8
        pushq   %r8
        .cfi_adjust_cfa_offset 8
        pushq   %r9
        .cfi_adjust_cfa_offset 8
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        call    loopscope_find_real
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r9
        .cfi_adjust_cfa_offset -8
        popq    %r8
        .cfi_adjust_cfa_offset -8
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        popq    %rdx
        .cfi_adjust_cfa_offset -8
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        jmp     1b
        .cfi_endproc
        .size   syscall, .-syscall

        .section .note.GNU-stack, "", @progbits
