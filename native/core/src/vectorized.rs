//! Loops that are compiled twice: for every processor, and for those with AVX2.

/// Calls a function that is inlined (`#[inline(always)]`), in the form for this processor. `predict` has kernels
/// instead, for it is written in AVX2's own instructions.
#[cfg(target_arch = "x86_64")]
macro_rules! vectorized {
    ($function:ident $(::<$T:ident: $bound:path>)? ($($name:ident: $type:ty),*) -> $out:ty) => {{
        #[target_feature(enable = "avx2")]
        fn with_avx2 $(<$T: $bound>)? ($($name: $type),*) -> $out {
            $function $(::<$T>)? ($($name),*)
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { with_avx2 $(::<$T>)? ($($name),*) }
        } else {
            $function $(::<$T>)? ($($name),*)
        }
    }};
}

/// Calls a function that is inlined.
#[cfg(not(target_arch = "x86_64"))]
macro_rules! vectorized {
    ($function:ident $(::<$T:ident: $bound:path>)? ($($name:ident: $type:ty),*) -> $out:ty) => {
        $function $(::<$T>)? ($($name),*)
    };
}

pub(crate) use vectorized;
