//! How a C struct is declared in Rust, once: its type, its layout for the test, and its reading.

/// A struct that a record can begin with.
///
/// # Safety
/// Implementors are `repr(C)`, valid for any bytes, and have no padding.
pub unsafe trait Layout: Copy {
    /// Name, size and fields in C.
    const LAYOUT: StructLayout;
}

/// Layout of a C struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructLayout {
    /// Its name in C.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its fields, in order.
    pub fields: &'static [FieldLayout],
}

/// Layout of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLayout {
    /// Its name in C.
    pub name: &'static str,
    /// Bytes from the start of the struct.
    pub offset: usize,
}

/// A C enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumLayout {
    /// Its name in C.
    pub name: &'static str,
    /// Name, without the prefix `KT_`, and value of each constant.
    pub values: &'static [(&'static str, u32)],
}

/// Reads the fixed part at the start of `bytes`, and gives what follows it. `None` when `bytes` are too short.
pub fn read<T: Layout>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (fixed, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: `fixed` is as long as T, T is valid for any bytes (Layout), and the read needs no alignment.
    Some((unsafe { fixed.as_ptr().cast::<T>().read_unaligned() }, rest))
}

/// The bytes of a fixed part, as the kernel writes them.
pub fn bytes_of<T: Layout>(fixed: &T) -> &[u8] {
    // SAFETY: T has no padding (Layout), so all its bytes are initialized; the slice borrows `fixed`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(fixed).cast(), size_of::<T>()) }
}

/// Declares structs with their C names, and `LAYOUTS` with the layout of each.
macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident = $c_name:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            const _: () = assert!(0 $(+ size_of::<$type>())* == size_of::<$name>(), "padding");

            // SAFETY: repr(C); all fields are integers, arrays of integers or such structs; no padding (asserted).
            unsafe impl $crate::records::Layout for $name {
                const LAYOUT: $crate::records::StructLayout = $crate::records::StructLayout {
                    name: $c_name,
                    size: size_of::<$name>(),
                    fields: &[$($crate::records::FieldLayout {
                        name: stringify!($field),
                        offset: std::mem::offset_of!($name, $field),
                    },)*],
                };
            }
        )*

        /// The layout of every struct declared here.
        pub const LAYOUTS: &[$crate::records::StructLayout] =
            &[$(<$name as $crate::records::Layout>::LAYOUT,)*];
    };
}

/// Declares enums with their C names, a module each, and `ENUMS` with the values of each.
macro_rules! constants {
    ($($(#[$doc:meta])* $module:ident = $c_name:literal { $($(#[$const_doc:meta])* $name:ident = $value:expr,)* })*) => {
        $(
            $(#[$doc])*
            pub mod $module {
                $($(#[$const_doc])* pub const $name: u32 = $value;)*
            }
        )*

        /// Every enum declared here.
        pub const ENUMS: &[$crate::records::EnumLayout] = &[$($crate::records::EnumLayout {
            name: $c_name,
            values: &[$((stringify!($name), $module::$name),)*],
        },)*];
    };
}

pub(crate) use {constants, layouts};
