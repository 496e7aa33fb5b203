//! Netlink attributes as bytes, for what the typed messages do not know: token buckets, u32 filters, conntrack.

/// Nested attributes carry this bit in messages to nfnetlink.
pub(crate) const NESTED: u16 = 0x8000;

/// Length of an attribute's header.
const HEADER: usize = 4;

/// Appends an attribute, padded to four bytes.
pub(crate) fn push(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Appends a list of integers in the host's byte order.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

/// Walks over attributes: kind (without flag bits) and value. Ends at the first malformed one.
pub(crate) fn iter(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(HEADER..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    })
}

/// The value of the first attribute of a kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    iter(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// A 16 bit integer in the host's byte order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A 32 bit integer in the host's byte order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A signed 32 bit integer in the host's byte order.
pub(crate) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_truncation_ends_the_walk() {
        let mut out = Vec::new();
        push(&mut out, 5, b"abc");
        push(&mut out, 6 | NESTED, &7u32.to_ne_bytes());
        assert_eq!(out.len(), 16);
        let all: Vec<_> = iter(&out).collect();
        assert_eq!(all, vec![(5, &b"abc"[..]), (6, &7u32.to_ne_bytes()[..])]);
        for cut in 0..out.len() {
            assert!(iter(&out[..cut]).count() <= 2);
        }
        assert_eq!(iter(&[0, 0, 0, 0]).count(), 0);
        assert_eq!(iter(&[2, 0, 1, 0]).count(), 0);
    }
}
