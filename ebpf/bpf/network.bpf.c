// SPDX-License-Identifier: GPL-2.0
/*
 * TCP connections: connect, accept, listen, close; v4 and v6.
 *
 * tp_btf/inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)
 *
 * A connection may change its state in the context of any process, when a packet arrives or a timer expires. So the
 * owning process is stored per socket where it is known for certain: SYN_SENT is reached in connect(2), LISTEN in
 * listen(2), FIN_WAIT1 and LAST_ACK in close(2), shutdown(2) or exit; an accepted connection gets its owner when
 * accept(2) returns the descriptor. Subflows of MPTCP change their state in a work queue, whose kernel threads own
 * nothing. Each socket passes CLOSE before its memory is reused, so the map has no stale
 * entries. Sockets for which the map had no room are reported with KT_OWNER_UNKNOWN.
 *
 * Not seen: the accepting process when it uses io_uring (the close is seen), who owns further subflows of MPTCP, and calls of 32-bit programs that only
 * the syscall tracepoints report (accept, connects that fail before a packet is sent), since they skip compat calls.
 */
#include <bpf/bpf_endian.h>

#include "socket.h"

enum kt_network_kind {
	KT_NETWORK = 6,
};

enum kt_network_op {
	KT_CONNECT = 1,
	KT_ACCEPT = 2,
	KT_LISTEN = 3,
	KT_CLOSE = 4,
};

struct kt_network {
	struct kt_header header;
	struct kt_task task;
	u64 opened_boot_ns;
	u64 bytes_sent;
	u64 bytes_received;
	u8 local[16];
	u8 remote[16];
	u16 local_port;
	u16 remote_port;
	u16 family;
	u8 outbound;
	u8 tcp_state;
	enum kt_network_op op;
	s32 ret;
};

DESCRIBE(enum kt_network_kind, network_kind);
DESCRIBE(struct kt_network, network);

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
};

#define SOCK_DONE 1 /* bit of sk_flags: the peer's FIN was received */

#define EPERM 1
#define EADDRNOTAVAIL 99
#define ECONNABORTED 103
#define EISCONN 106
#define EALREADY 114
#define EINPROGRESS 115

/* What is known about an open socket. */
struct known_socket {
	struct kt_task owner;
	u64 opened_boot_ns;
	u8 outbound;
	u8 owned;
	u8 reserved[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 15); /* set at load */
	__type(key, u64);
	__type(value, struct known_socket);
} sockets SEC(".maps");

/*
 * Sockets of calls in progress, by thread: of a connect(2) that has reached SYN_SENT, whose result the state changes
 * report, and of a listen(2) on a socket that gets its port only in this call, which is recorded when it returns.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} attempts SEC(".maps");

static __always_inline void fill_addresses(struct kt_network *record, const struct sock *sk)
{
	record->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	/* skc_num would be 0 once the socket is closed. */
	record->local_port = bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
	record->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (record->family == AF_INET) {
		bpf_core_read(record->local, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_core_read(record->remote, 4, &sk->__sk_common.skc_daddr);
	} else {
		bpf_core_read(record->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(record->remote, 16, &sk->__sk_common.skc_v6_daddr);
	}
}

/* Payload only. Neither counter of the kernel includes the SYN; bytes_received includes the FIN. */
static __always_inline void fill_bytes(struct kt_network *record, const struct sock *sk)
{
	const struct tcp_sock *tcp = (const struct tcp_sock *)sk;

	record->bytes_sent = BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
	record->bytes_received = BPF_CORE_READ(tcp, bytes_received);
	if (record->bytes_received && BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << SOCK_DONE))
		record->bytes_received--;
}

/* Whether the filter drops records of the connection's owner, which is determined as in `start_record`. */
static __always_inline bool owner_is_filtered(const struct known_socket *known, struct task_struct *current)
{
	if (current)
		return is_filtered(KT_NETWORK, current);
	return cgroup_is_filtered(KT_NETWORK, known && known->owned ? known->owner.state.cgroup_id : 0);
}

/*
 * The owner is `current` if the caller passes it, else the one in `known`, else unknown; both may be NULL. Returns NULL
 * when the record is filtered or lost.
 */
static __always_inline struct kt_network *start_record(enum kt_network_op op, const struct sock *sk, u8 tcp_state,
						       const struct known_socket *known, struct task_struct *current)
{
	struct kt_network *record;

	if (owner_is_filtered(known, current)) {
		count_filtered(KT_NETWORK);
		return NULL;
	}
	record = reserve_record(KT_NETWORK, sizeof(*record), 0);
	if (!record)
		return NULL;
	record->op = op;
	record->tcp_state = tcp_state;
	fill_addresses(record, sk);
	if (known) {
		record->opened_boot_ns = known->opened_boot_ns;
		record->outbound = known->outbound;
	}
	if (current)
		fill_task(&record->task, current, current->real_parent);
	else if (known && known->owned)
		record->task = known->owner;
	else
		record->header.flags |= KT_OWNER_UNKNOWN;
	return record;
}

static __always_inline void remember(u64 key, bool outbound, u64 opened, struct task_struct *owner)
{
	struct known_socket known = { .outbound = outbound, .opened_boot_ns = opened };

	if (owner) {
		known.owned = 1;
		fill_task(&known.owner, owner, owner->real_parent);
	}
	bpf_map_update_elem(&sockets, &key, &known, BPF_ANY);
}

static __always_inline void set_attempt(u64 key)
{
	u64 thread = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&attempts, &thread, &key, BPF_ANY);
}

/* Called in the context of listen(2). */
static __always_inline void on_listen(const struct sock *sk, u64 key)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct kt_network *record;

	remember(key, false, bpf_ktime_get_boot_ns(), current);
	if (!BPF_CORE_READ((const struct inet_sock *)sk, inet_sport)) {
		set_attempt(key);
		return;
	}
	record = start_record(KT_LISTEN, sk, TCP_LISTEN, NULL, current);
	if (record)
		submit_record(record);
}

static __always_inline s32 connect_error(const struct sock *sk)
{
	int error = BPF_CORE_READ(sk, sk_err);

	if (error)
		return -error;
	/* Without a port, no local port was free; otherwise the process gave up before it got a response. */
	return BPF_CORE_READ((const struct inet_sock *)sk, inet_sport) ? -ECONNABORTED : -EADDRNOTAVAIL;
}

static __always_inline void on_connected(const struct sock *sk, u8 state, const struct known_socket *known, s32 error)
{
	struct kt_network *record = start_record(KT_CONNECT, sk, state, known, NULL);

	if (!record)
		return;
	record->outbound = 1;
	record->ret = error;
	submit_record(record);
}

static __always_inline void on_closed(const struct sock *sk, const struct known_socket *known)
{
	struct kt_network *record = start_record(KT_CLOSE, sk, TCP_CLOSE, known, NULL);

	if (!record)
		return;
	fill_bytes(record, sk);
	submit_record(record);
}

/*
 * There are two programs on this tracepoint because the kernel skips a program that is already running on the CPU:
 * while socket_owner stores a process, an interrupting packet may change the state of another connection, which
 * socket_progress then still sees. Packets never cause the changes that socket_owner handles, so the runs of it that
 * the kernel counts as missed lose nothing.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_owner, const struct sock *sk, int oldstate, int newstate)
{
	u64 key = (u64)(unsigned long)sk;
	struct known_socket *known;

	if (newstate != TCP_LISTEN && newstate != TCP_SYN_SENT && newstate != TCP_FIN_WAIT1 && newstate != TCP_LAST_ACK)
		return 0;
	if (!is_tcp(sk))
		return 0;
	if (newstate == TCP_LISTEN) {
		on_listen(sk, key);
	} else if (newstate == TCP_SYN_SENT) {
		remember(key, true, bpf_ktime_get_boot_ns(), bpf_get_current_task_btf());
		set_attempt(key);
	} else if (!(bpf_get_current_task_btf()->flags & PF_KTHREAD)) {
		known = bpf_map_lookup_elem(&sockets, &key);
		if (!known || !known->owned)
			remember(key, known ? known->outbound : 0, known ? known->opened_boot_ns : 0,
				 bpf_get_current_task_btf());
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_progress, const struct sock *sk, int oldstate, int newstate)
{
	u64 key = (u64)(unsigned long)sk;
	struct known_socket *known;

	if (newstate != TCP_ESTABLISHED && newstate != TCP_CLOSE && newstate != TCP_SYN_RECV)
		return 0;
	if (!is_tcp(sk))
		return 0;
	if (newstate == TCP_SYN_RECV) {
		/* An incoming connection starts; its memory may have belonged to a socket whose close was not seen. */
		if (oldstate == TCP_LISTEN)
			bpf_map_delete_elem(&sockets, &key);
		return 0;
	}
	known = bpf_map_lookup_elem(&sockets, &key);
	if (newstate == TCP_ESTABLISHED) {
		/* SYN_RECV precedes it in incoming connections, and when both sides connect at the same time. */
		if (oldstate == TCP_SYN_SENT || (known && known->outbound))
			on_connected(sk, TCP_ESTABLISHED, known, 0);
		else
			remember(key, false, bpf_ktime_get_boot_ns(), NULL);
		return 0;
	}
	if (oldstate == TCP_SYN_SENT || (oldstate == TCP_SYN_RECV && known && known->outbound))
		on_connected(sk, TCP_CLOSE, known, connect_error(sk));
	else if (oldstate != TCP_SYN_RECV && oldstate != TCP_CLOSE)
		on_closed(sk, known);
	bpf_map_delete_elem(&sockets, &key);
	return 0;
}

static __always_inline int on_accept(s64 ret)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct known_socket *known;
	struct kt_network *record;
	struct sock *sk;
	u64 key, opened;
	u8 state;

	sk = tcp_socket_of(current, ret);
	if (!sk)
		return 0;
	key = (u64)(unsigned long)sk;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	known = bpf_map_lookup_elem(&sockets, &key);
	opened = known ? known->opened_boot_ns : 0;
	record = start_record(KT_ACCEPT, sk, state, known, current);
	if (record)
		submit_record(record);
	/* If the peer has already closed it, no further state change would remove it from the map. */
	if (state != TCP_CLOSE)
		remember(key, false, opened, current);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept")
int exit_accept(struct sys_exit *ctx)
{
	return on_accept(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int exit_accept4(struct sys_exit *ctx)
{
	return on_accept(ctx->ret);
}

/* Takes the socket of this thread's call in progress; 0 if none. An entry left by io_uring has another socket. */
static __always_inline u64 take_attempt(void)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 *found = bpf_map_lookup_elem(&attempts, &thread);
	u64 key = found ? *found : 0;

	if (found)
		bpf_map_delete_elem(&attempts, &thread);
	return key;
}

/* An argument of the system call that is returning, from the registers saved at its entry. */
static __always_inline u64 call_argument(struct task_struct *task, int number)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	return number == 0 ? PT_REGS_PARM1_CORE_SYSCALL(regs) : PT_REGS_PARM2_CORE_SYSCALL(regs);
}

SEC("tracepoint/syscalls/sys_exit_listen")
int exit_listen(struct sys_exit *ctx)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct kt_network *record;
	u64 attempt = take_attempt();
	struct sock *sk;

	if (!attempt || ctx->ret)
		return 0;
	sk = tcp_socket_of(current, (s32)call_argument(current, 0));
	if (!sk || (u64)(unsigned long)sk != attempt)
		return 0;
	record = start_record(KT_LISTEN, sk, TCP_LISTEN, NULL, current);
	if (record)
		submit_record(record);
	return 0;
}

struct address {
	u16 family;
	u16 port;
	u8 v4[4]; /* flow label in a v6 address */
	u8 v6[16];
};

/*
 * A connect that failed before a packet was sent, for example for lack of a route or because of a policy. The socket
 * then has no destination, so it is read from the caller's memory.
 */
SEC("tracepoint/syscalls/sys_exit_connect")
int exit_connect(struct sys_exit *ctx)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct address address = {};
	struct kt_network *record;
	u64 attempt = take_attempt();
	struct sock *sk;
	s64 ret = ctx->ret;

	if (ret >= 0 || ret == -EINPROGRESS || ret == -EALREADY || ret == -EISCONN)
		return 0;
	sk = tcp_socket_of(current, (s32)call_argument(current, 0));
	if (!sk || (u64)(unsigned long)sk == attempt || BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE)
		return 0;
	record = start_record(KT_CONNECT, sk, TCP_CLOSE, NULL, current);
	if (!record)
		return 0;
	record->outbound = 1;
	record->ret = ret;
	if (bpf_probe_read_user(&address, sizeof(address), (void *)call_argument(current, 1)))
		record->header.flags |= KT_TARGET_UNREAD;
	record->remote_port = bpf_ntohs(address.port);
	if (address.family == AF_INET)
		__builtin_memcpy(record->remote, address.v4, 4);
	else if (address.family == AF_INET6)
		__builtin_memcpy(record->remote, address.v6, 16);
	submit_record(record);
	return 0;
}
