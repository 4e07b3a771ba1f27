// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that change namespaces, mounts or the root: setns, unshare, mount, move_mount, pivot_root, chroot; also those
 * that fail.
 *
 * The state before the call is read at entry and stored per thread. Everything else is read when the call returns: the
 * state after it from the task, the new mount or root from the mount itself. Only what no kernel object contains (the
 * paths of a failed call, the source of a bind mount) comes from the caller's memory, after the call, when the kernel
 * has just used those pages.
 *
 * Calls of 32-bit programs are not seen: the kernel's syscall tracepoints skip them.
 */
#include "program.h"

#define MS_BIND 0x1000
#define MS_MOVE 0x2000
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#define AT_FDCWD (-100)
#define NSFS_MAGIC 0x6e736673
#define PIDFS_MAGIC 0x50494446

enum kt_privilege_kind {
	KT_PRIVILEGE = 5,
};

enum kt_privilege_op {
	KT_SETNS = 1,
	KT_UNSHARE = 2,
	KT_MOUNT = 3,
	KT_MOVE_MOUNT = 4,
	KT_PIVOT_ROOT = 5,
	KT_CHROOT = 6,
};

/* Strings: source, target (text; path components with KT_TARGET_RESOLVED), type, cwd (path components). */
struct kt_privilege {
	struct kt_header header;
	struct kt_task task; /* after the call */
	struct kt_state before;
	struct kt_ref target_process;
	s64 ret;
	u64 call_flags;
	u32 target_dev;
	enum kt_privilege_op op;
	u16 source_len;
	u16 target_len;
	u16 type_len;
	u16 cwd_len;
};

DESCRIBE(enum kt_privilege_kind, privilege_kind);

#define STRING_MAX 1024
#define CWD_MAX 512
#define MOUNT_TREE_DEPTH 34 /* height of a red-black tree of fs.mount-max = 100,000 mounts: at most 2 * 17 */
#define MOUNT_NESTING 16

/* A call in progress. */
struct call {
	struct kt_state before;
	struct place root;
	u64 newest_mount; /* mount: id of the namespace's newest mount before the call */
	u64 args[5];
	u16 cwd_len; /* pivot_root: path components */
	u16 cwd_unread;
	enum kt_privilege_op op;
	u8 cwd[CWD_MAX];
};

/* Value of a per-CPU map. The strings follow the record without a gap. */
struct privilege_scratch {
	struct kt_privilege record;
	u8 data[KT_DATA_LEN + KT_PATH_MAX];
	struct call call;
	u32 busy;
	u32 cursor; /* end of the strings in `data` */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct privilege_scratch);
} privilege_scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, struct call);
} calls SEC(".maps");

/* The newest mount in the namespace of `task`; NULL before 6.8, where it cannot be found. */
static __always_inline struct mount *newest_mount(struct task_struct *task)
{
	struct nsproxy *proxy = task->nsproxy;
	struct mnt_namespace *ns;
	struct rb_node *node, *right;
	int i;

	if (!proxy || !bpf_core_field_exists(((struct mount *)0)->mnt_id_unique))
		return NULL;
	ns = proxy->mnt_ns;
	if (!ns)
		return NULL;
	if (bpf_core_field_exists(ns->mnt_last_node)) {
		node = BPF_CORE_READ(ns, mnt_last_node);
	} else {
		/* Ids only increase, so the newest mount is the rightmost. */
		node = BPF_CORE_READ(ns, mounts.rb_node);
		for (i = 0; i < MOUNT_TREE_DEPTH && node; i++) {
			right = BPF_CORE_READ(node, rb_right);
			if (!right)
				break;
			node = right;
		}
	}
	return node ? (void *)node - bpf_core_field_offset(struct mount, mnt_node) : NULL;
}

static __always_inline u64 mount_id(struct mount *mount)
{
	return mount ? BPF_CORE_READ(mount, mnt_id_unique) : 0;
}

static __always_inline struct privilege_scratch *take_scratch(void)
{
	u32 key = 0;
	struct privilege_scratch *scratch = bpf_map_lookup_elem(&privilege_scratches, &key);

	if (!scratch || scratch->busy)
		return NULL;
	scratch->busy = 1;
	return scratch;
}

static __always_inline int on_enter(struct sys_enter *ctx, enum kt_privilege_op op)
{
	struct task_struct *current = bpf_get_current_task_btf();
	u64 thread = bpf_get_current_pid_tgid();
	struct fs_struct *fs = current->fs;
	struct privilege_scratch *scratch;
	enum kt_flag flags = 0;
	struct call *call;
	u32 len;

	if (is_filtered(KT_PRIVILEGE, current))
		return 0;
	scratch = take_scratch();
	if (!scratch)
		return 0;
	call = &scratch->call;
	__builtin_memset(call, 0, offsetof(struct call, cwd));
	call->op = op;
	fill_state(&call->before, current);
	bpf_probe_read_kernel(call->args, sizeof(call->args), ctx->args);
	if (fs)
		call->root = place_of(&fs->root);
	if (op == KT_MOUNT)
		call->newest_mount = mount_id(newest_mount(current));
	/* Only pivot_root changes the working directory: after it, "." may be another directory. */
	if (op == KT_PIVOT_ROOT && fs) {
		scratch->cursor = 0;
		len = write_cwd(scratch->data, &scratch->cursor, fs, call->root, &flags);
		if (!flags && len < CWD_MAX) {
			bpf_probe_read_kernel(call->cwd, len & (CWD_MAX - 1), scratch->data);
			call->cwd_len = len;
		} else {
			call->cwd_unread = 1;
		}
	}
	bpf_map_update_elem(&calls, &thread, call, BPF_ANY);
	scratch->busy = 0;
	return 0;
}

/* Advances the cursor past the string just written, without its NUL, and returns its length. */
static __always_inline u16 keep_string(struct privilege_scratch *scratch, long len, enum kt_flag unread)
{
	if (len < 0) {
		scratch->record.header.flags |= unread;
		return 0;
	}
	if (!len)
		return 0;
	len = (len - 1) & (STRING_MAX - 1);
	scratch->cursor += len;
	return len;
}

/* Appends a string from the caller's memory, or flags it as unread; NULL counts as the empty string. */
static __always_inline u16 write_string(struct privilege_scratch *scratch, u64 address, enum kt_flag unread)
{
	u8 *to = scratch->data + (scratch->cursor & KT_DATA_MASK);

	if (!address)
		return 0;
	return keep_string(scratch, bpf_probe_read_user_str(to, STRING_MAX, (void *)(unsigned long)address), unread);
}

static __always_inline u16 write_kernel_string(struct privilege_scratch *scratch, const char *name, enum kt_flag unread)
{
	u8 *to = scratch->data + (scratch->cursor & KT_DATA_MASK);

	return keep_string(scratch, bpf_probe_read_kernel_str(to, STRING_MAX, name), unread);
}

/* Appends a path that the kernel resolved, relative to the caller's root before the call. */
static __always_inline u16 write_resolved(struct privilege_scratch *scratch, struct place from, struct place root)
{
	struct walk walk = { .from = from, .root = root };

	write_path(scratch->data, &scratch->cursor, &walk);
	if (walk.end == PATH_UNREAD) {
		scratch->record.header.flags |= KT_TARGET_UNREAD;
		return 0;
	}
	if (walk.end == PATH_CUT)
		scratch->record.header.flags |= KT_TARGET_CUT;
	scratch->record.header.flags |= KT_TARGET_RESOLVED;
	return walk.len;
}

static __always_inline struct place top_of(struct vfsmount *mnt)
{
	struct place place = { .mnt = mnt, .dentry = BPF_CORE_READ(mnt, mnt_root) };

	return place;
}

/* The mount that this mount(2) created: the topmost of the new ones; NULL when it created none, or before 6.8. */
static __always_inline struct mount *made_by(struct task_struct *task, u64 newest_before)
{
	struct mount *mount = newest_mount(task);
	struct mount *above;
	int i;

	if (!mount || mount_id(mount) <= newest_before)
		return NULL;
	for (i = 0; i < MOUNT_NESTING; i++) {
		above = BPF_CORE_READ(mount, mnt_parent);
		if (above == mount || mount_id(above) <= newest_before)
			break;
		mount = above;
	}
	return mount;
}

/* The mount behind a descriptor from fsmount(2) or open_tree(2). */
static __always_inline struct vfsmount *mount_behind(struct task_struct *task, s32 descriptor)
{
	struct file *file = descriptor < 0 ? NULL : file_of(task, descriptor);

	return file ? BPF_CORE_READ(file, f_path.mnt) : NULL;
}

/* Writes source, target and type of mount(2) and move_mount(2). */
static __always_inline void write_mount(struct privilege_scratch *scratch, struct task_struct *task,
					const struct call *call, bool moved)
{
	struct kt_privilege *record = &scratch->record;
	bool by_descriptor = moved && call->args[4] & MOVE_MOUNT_F_EMPTY_PATH;
	bool done = record->ret == 0;
	struct vfsmount *mnt = NULL;
	struct mount *made;

	if (by_descriptor) {
		mnt = mount_behind(task, call->args[0]);
	} else if (!moved && done) {
		made = made_by(task, call->newest_mount);
		if (made)
			mnt = vfsmount_of(made);
	}
	if (by_descriptor && mnt)
		record->source_len =
			write_kernel_string(scratch, BPF_CORE_READ(mount_of(mnt), mnt_devname), KT_SOURCE_UNREAD);
	else
		record->source_len = write_string(scratch, call->args[moved ? 1 : 0], KT_SOURCE_UNREAD);
	if (mnt && done)
		record->target_len = write_resolved(scratch, top_of(mnt), call->root);
	else
		record->target_len = write_string(scratch, call->args[moved ? 3 : 1], KT_TARGET_UNREAD);
	if (mnt)
		record->type_len =
			write_kernel_string(scratch, BPF_CORE_READ(mnt, mnt_sb, s_type, name), KT_TYPE_UNREAD);
	else if (!moved)
		record->type_len = write_string(scratch, call->args[2], KT_TYPE_UNREAD);
	if (mnt && done)
		record->target_dev = BPF_CORE_READ(mnt, mnt_sb, s_dev);
}

/* Writes source and target of pivot_root(2) and chroot(2), and sets the device of the new root. */
static __always_inline void write_root(struct privilege_scratch *scratch, struct task_struct *task,
				       const struct call *call, bool pivot)
{
	struct kt_privilege *record = &scratch->record;
	struct fs_struct *fs = task->fs;
	bool done = record->ret == 0 && fs;

	if (pivot) {
		record->source_len = write_string(scratch, call->args[0], KT_SOURCE_UNREAD);
		record->target_len = write_string(scratch, call->args[1], KT_TARGET_UNREAD);
	} else if (done) {
		record->target_len = write_resolved(scratch, place_of(&fs->root), call->root);
	} else {
		record->target_len = write_string(scratch, call->args[0], KT_TARGET_UNREAD);
	}
	if (done)
		record->target_dev = BPF_CORE_READ(fs, root.mnt, mnt_sb, s_dev);
}

/* What the descriptor passed to setns(2) refers to: a namespace, or a process (pidfd). */
static __always_inline void fill_setns(struct kt_privilege *record, struct task_struct *task,
				       const struct call *call)
{
	struct file *file = (s32)call->args[0] < 0 ? NULL : file_of(task, (u32)call->args[0]);
	struct hlist_node *node = NULL;
	struct task_struct *target;
	struct ns_common *ns;
	struct inode *inode;
	struct pid *pid;
	u64 magic;

	record->call_flags = call->args[1];
	if (!file)
		return;
	inode = BPF_CORE_READ(file, f_inode);
	magic = BPF_CORE_READ(inode, i_sb, s_magic);
	if (magic == NSFS_MAGIC) {
		ns = BPF_CORE_READ(inode, i_private);
		if (bpf_core_field_exists(ns->ns_type))
			record->call_flags = BPF_CORE_READ(ns, ns_type);
		else
			record->call_flags = BPF_CORE_READ(ns, ops, type);
		return;
	}
	/* pidfds have their own file system since 6.9; before, they share the anonymous inode. */
	if (magic != PIDFS_MAGIC)
		return;
	pid = BPF_CORE_READ(inode, i_private);
	bpf_core_read(&node, sizeof(node), &pid->tasks[PIDTYPE_TGID].first);
	if (!node)
		return;
	target = (void *)node - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_TGID]);
	bpf_core_read(&record->target_process.tgid, sizeof(u32), &target->tgid);
	bpf_core_read(&record->target_process.start_boottime, sizeof(u64), &target->start_boottime);
}

static __always_inline bool is_relative(struct privilege_scratch *scratch, u32 off, u16 len)
{
	return len && scratch->data[off & KT_DATA_MASK] != '/';
}

/* Whether the source is a path; otherwise it is a device name, or there is none. */
static __always_inline bool source_is_path(const struct call *call, enum kt_privilege_op op)
{
	return op == KT_PIVOT_ROOT || (op == KT_MOUNT && call->args[3] & (MS_BIND | MS_MOVE)) ||
	       (op == KT_MOVE_MOUNT && !(call->args[4] & MOVE_MOUNT_F_EMPTY_PATH));
}

/* Writes the directory that relative paths of the call start from. */
static __always_inline void write_base(struct privilege_scratch *scratch, struct task_struct *task,
				       const struct call *call, enum kt_privilege_op op)
{
	struct kt_privilege *record = &scratch->record;
	struct fs_struct *fs = task->fs;
	bool source = source_is_path(call, op) && is_relative(scratch, 0, record->source_len);
	bool target = !(record->header.flags & KT_TARGET_RESOLVED) &&
		      is_relative(scratch, record->source_len, record->target_len);

	if (!source && !target)
		return;
	if (op == KT_PIVOT_ROOT) {
		record->cwd_len = call->cwd_len & (CWD_MAX - 1);
		bpf_probe_read_kernel(scratch->data + (scratch->cursor & KT_DATA_MASK), record->cwd_len, call->cwd);
		scratch->cursor += record->cwd_len;
		if (call->cwd_unread)
			record->header.flags |= KT_CWD_UNREAD;
	} else if (!fs || (op == KT_MOVE_MOUNT && ((source && (s32)call->args[0] != AT_FDCWD) ||
						   (target && (s32)call->args[2] != AT_FDCWD)))) {
		/* Relative to a directory descriptor, whose path is not read. */
		record->header.flags |= KT_CWD_UNREAD;
	} else {
		record->cwd_len = write_cwd(scratch->data, &scratch->cursor, fs, call->root, &record->header.flags);
	}
}

static __always_inline void send_call(struct privilege_scratch *scratch, struct task_struct *current,
				      const struct call *call, enum kt_privilege_op op, s64 ret)
{
	struct kt_privilege *record = &scratch->record;

	__builtin_memset(record, 0, sizeof(*record));
	scratch->cursor = 0;
	record->op = op;
	record->ret = ret;
	fill_task(&record->task, current, current->real_parent);
	record->before = call->before;
	if (op == KT_SETNS)
		fill_setns(record, current, call);
	else if (op == KT_UNSHARE)
		record->call_flags = call->args[0];
	else if (op == KT_MOUNT)
		record->call_flags = call->args[3];
	else if (op == KT_MOVE_MOUNT)
		record->call_flags = call->args[4];
	if (op == KT_MOUNT || op == KT_MOVE_MOUNT)
		write_mount(scratch, current, call, op == KT_MOVE_MOUNT);
	else if (op == KT_PIVOT_ROOT || op == KT_CHROOT)
		write_root(scratch, current, call, op == KT_PIVOT_ROOT);
	if (op != KT_SETNS && op != KT_UNSHARE)
		write_base(scratch, current, call, op);
	output_record(&record->header, KT_PRIVILEGE, sizeof(*record) + (scratch->cursor & KT_DATA_MASK));
}

/* Sends process, operation and result of a call that is not in the map: entered before attachment, or evicted. */
static __always_inline void send_bare(struct privilege_scratch *scratch, struct task_struct *current,
				      enum kt_privilege_op op, s64 ret)
{
	struct kt_privilege *record = &scratch->record;

	__builtin_memset(record, 0, sizeof(*record));
	record->op = op;
	record->ret = ret;
	record->header.flags = KT_BEFORE_UNREAD | KT_SOURCE_UNREAD | KT_TARGET_UNREAD | KT_TYPE_UNREAD;
	fill_task(&record->task, current, current->real_parent);
	output_record(&record->header, KT_PRIVILEGE, sizeof(*record));
}

static __always_inline int on_exit(struct sys_exit *ctx, enum kt_privilege_op op)
{
	struct task_struct *current = bpf_get_current_task_btf();
	u64 thread = bpf_get_current_pid_tgid();
	struct privilege_scratch *scratch;
	struct call *call;

	if (is_filtered(KT_PRIVILEGE, current)) {
		count_filtered(KT_PRIVILEGE);
		/* The call may have entered before the filter was set. */
		bpf_map_delete_elem(&calls, &thread);
		return 0;
	}
	scratch = take_scratch();
	if (!scratch) {
		lose_record(KT_PRIVILEGE, 0);
		return 0;
	}
	call = bpf_map_lookup_elem(&calls, &thread);
	if (call && call->op == op) {
		send_call(scratch, current, call, op, ctx->ret);
		bpf_map_delete_elem(&calls, &thread);
	} else {
		send_bare(scratch, current, op, ctx->ret);
	}
	scratch->busy = 0;
	return 0;
}

#define PRIVILEGE_CALL(name, op)                                                                                       \
	SEC("tracepoint/syscalls/sys_enter_" #name)                                                                    \
	int enter_##name(struct sys_enter *ctx)                                                                        \
	{                                                                                                              \
		return on_enter(ctx, op);                                                                              \
	}                                                                                                              \
	SEC("tracepoint/syscalls/sys_exit_" #name)                                                                     \
	int exit_##name(struct sys_exit *ctx)                                                                          \
	{                                                                                                              \
		return on_exit(ctx, op);                                                                               \
	}

PRIVILEGE_CALL(setns, KT_SETNS)
PRIVILEGE_CALL(unshare, KT_UNSHARE)
PRIVILEGE_CALL(mount, KT_MOUNT)
PRIVILEGE_CALL(move_mount, KT_MOVE_MOUNT)
PRIVILEGE_CALL(pivot_root, KT_PIVOT_ROOT)
PRIVILEGE_CALL(chroot, KT_CHROOT)
