/* SPDX-License-Identifier: GPL-2.0 */
/* From a descriptor of the calling process to its TCP socket. */
#pragma once

#include "program.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262

static __always_inline bool is_tcp(const struct sock *sk)
{
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/*
 * The TCP socket that `sk` is, or that an MPTCP socket began with: the kernel reports the changes of that one. NULL for
 * other sockets.
 */
static __always_inline struct sock *tcp_socket(struct sock *sk)
{
	if (sk && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP && bpf_core_type_exists(struct mptcp_sock))
		sk = BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return sk && is_tcp(sk) ? sk : NULL;
}

/* The TCP socket behind a descriptor of the current process; NULL when there is none. */
static __always_inline struct sock *tcp_socket_of(struct task_struct *task, s64 descriptor)
{
	struct socket *socket;
	struct file *file;

	if (descriptor < 0)
		return NULL;
	file = file_of(task, descriptor);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return tcp_socket(BPF_CORE_READ(socket, sk));
}
