//! Types of voxels.

/// The types that arrays have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// uint8.
    U8,
    /// int16.
    I16,
    /// int32.
    I32,
    /// float32.
    F32,
    /// float64.
    F64,
}

impl Element {
    /// Bytes of one.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// A Rust type that is an `Element`: any bytes of its size are a value.
pub trait Voxel: Copy + Default + Send + Sync + 'static {
    /// Which it is.
    const ELEMENT: Element;
    /// The value of `ELEMENT.size()` little-endian bytes.
    fn from_bytes(bytes: impl Fn(usize) -> u8) -> Self;
    /// The nearest float32.
    fn to_f32(self) -> f32;
    /// As int32, where that holds every value of the type.
    fn to_i32(self) -> Option<i32>;
}

macro_rules! voxel {
    ($type:ty, $element:ident, $f32:expr, $i32:expr) => {
        impl Voxel for $type {
            const ELEMENT: Element = Element::$element;

            #[inline(always)]
            fn from_bytes(bytes: impl Fn(usize) -> u8) -> Self {
                Self::from_le_bytes(std::array::from_fn(bytes))
            }

            #[inline(always)]
            fn to_f32(self) -> f32 {
                $f32(self)
            }

            #[inline(always)]
            fn to_i32(self) -> Option<i32> {
                $i32(self)
            }
        }
    };
}

#[expect(clippy::cast_precision_loss, reason = "the nearest float32 is what is asked for")]
fn rounded_i32(value: i32) -> f32 {
    value as f32
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest float32 is what is asked for")]
fn rounded_f64(value: f64) -> f32 {
    value as f32
}

voxel!(u8, U8, f32::from, |value| Some(i32::from(value)));
voxel!(i16, I16, f32::from, |value| Some(i32::from(value)));
voxel!(i32, I32, rounded_i32, Some);
voxel!(f32, F32, |value| value, |_| None);
voxel!(f64, F64, rounded_f64, |_| None);
