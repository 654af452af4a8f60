//! Reads protobuf without copying: fields as slices of the message that holds them.

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the message ends in the middle of a field")]
    Truncated,
    #[error("a number takes more than 64 bits")]
    Overflow,
    #[error("a field has number 0 or a number too big")]
    FieldNumber,
    #[error("wire type {0} is not in use")]
    WireType(u8),
    #[error("field {0} is not of the type it should be")]
    Mismatch(u32),
}

/// A field's value as it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// A cursor over the fields of one message.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next field: its number and value; nothing at the end.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Broken> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Broken::FieldNumber)?;
        if number == 0 || number >= 1 << 29 {
            return Err(Broken::FieldNumber);
        }
        let value = match tag as u8 & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.bytes()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(Broken::WireType(other)),
        };
        Ok(Some((number, value)))
    }

    /// A number of one to ten bytes, seven bits each, lowest first.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Broken> {
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut number = 0;
        for (n, &byte) in self.rest.iter().take(10).enumerate() {
            if n == 9 && byte > 1 {
                return Err(Broken::Overflow);
            }
            number |= u64::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                self.rest = &self.rest[n + 1..];
                return Ok(number);
            }
        }
        Err(Broken::Truncated)
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let n = usize::try_from(self.varint()?).map_err(|_| Broken::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or(Broken::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Broken::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Value<'a> {
    /// The bytes of a string, of bytes or of a nested message.
    pub(super) fn bytes(self, field: u32) -> Result<&'a [u8], Broken> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Broken::Mismatch(field)),
        }
    }

    /// A varint.
    pub(super) fn varint(self, field: u32) -> Result<u64, Broken> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(Broken::Mismatch(field)),
        }
    }

    /// A double.
    pub(super) fn double(self, field: u32) -> Result<f64, Broken> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Broken::Mismatch(field)),
        }
    }
}

/// Appends a length-delimited field.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &[u8], expected: Result<Option<(u32, Value<'_>)>, Broken>) {
        assert_eq!(Reader::new(message).field(), expected);
    }

    #[test]
    fn each_wire_type_is_read() {
        check(&[], Ok(None));
        check(&[0x08, 0x96, 0x01], Ok(Some((1, Value::Varint(150)))));
        check(&[0x12, 2, b'h', b'i'], Ok(Some((2, Value::Bytes(b"hi")))));
        check(&[0x19, 1, 0, 0, 0, 0, 0, 0, 0], Ok(Some((3, Value::Fixed64(1)))));
        check(&[0x25, 1, 0, 0, 0], Ok(Some((4, Value::Fixed32(1)))));
    }

    #[test]
    fn hostile_bytes_are_refused() {
        check(&[0x08], Err(Broken::Truncated));
        check(&[0x08, 0x80], Err(Broken::Truncated));
        check(&[0x12, 3, b'h'], Err(Broken::Truncated));
        let mut endless = vec![0x12];
        put_varint(&mut endless, u64::MAX);
        check(&endless, Err(Broken::Truncated));
        let mut eleven = vec![0x08];
        eleven.extend([0xff; 10]);
        check(&eleven, Err(Broken::Overflow));
        check(&[0x00, 0x01], Err(Broken::FieldNumber));
        check(&[0x0b], Err(Broken::WireType(3)));
    }

    #[test]
    fn a_varint_is_read_as_it_was_written() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = vec![];
            put_varint(&mut bytes, number);
            assert_eq!(Reader::new(&bytes).varint(), Ok(number));
        }
    }
}
