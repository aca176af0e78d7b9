//! Telling a program's own bytes from what the wrapper adds around them: a first line with process ids, and
//! after the last byte the sentinel with the exit code. Pure: bytes in, bytes out.
//!
//! Both carry a nonce of 128 random bits, which no program can print by accident.

use bytes::{Bytes, BytesMut};

/// A nonce, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

/// Nonce, space, three digits, `\n`.
const SENTINEL: usize = 32 + 1 + 3 + 1;

/// Longer first lines are no first lines.
const HEADER: usize = 4096;

impl Nonce {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut bits = [0_u8; 16];
        getrandom::fill(&mut bits)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bits))))
    }

    /// As the wrapper prints it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Process ids inside the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pids {
    /// The program.
    pub program: u32,
    /// The wrapper, its parent.
    pub wrapper: u32,
}

/// Reads the wrapper's first line.
#[derive(Debug, Default)]
pub struct Header {
    held: BytesMut,
}

/// Why the wrapper does not use the lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoLane {
    /// The FIFO is in none of the directories.
    Absent,
    /// The container's user, of this group, may not open it.
    Refused(u32),
    /// Something else is under its name.
    Foreign,
    /// Nobody has opened it for so many seconds.
    Unmet(u64),
}

/// What [`Header::push`] knows so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Heading {
    /// More bytes are needed.
    Unfinished,
    /// The line, and what followed it.
    Read(Pids, Bytes),
    /// The wrapper found no way by the lane, and started nothing.
    NoLane(NoLane),
    /// These are not the wrapper's words.
    Foreign,
}

impl Header {
    /// Takes in bytes.
    pub fn push(&mut self, nonce: &Nonce, bytes: &[u8]) -> Heading {
        self.held.extend_from_slice(bytes);
        let Some(end) = self.held.iter().position(|byte| *byte == b'\n') else {
            return if self.held.len() > HEADER { Heading::Foreign } else { Heading::Unfinished };
        };
        let line = &self.held[..end];
        match (parse_header(nonce, line), parse_no_lane(nonce, line)) {
            (Some(pids), _) => Heading::Read(pids, self.held.split_off(end + 1).freeze()),
            (None, Some(why)) => Heading::NoLane(why),
            (None, None) => Heading::Foreign,
        }
    }

    /// What came instead of the first line, for people.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.held[..self.held.len().min(HEADER)]).trim().to_owned()
    }
}

fn parse_header(nonce: &Nonce, line: &[u8]) -> Option<Pids> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    if words.next()? != nonce.as_str() {
        return None;
    }
    let pids = Pids { program: words.next()?.parse().ok()?, wrapper: words.next()?.parse().ok()? };
    words.next().is_none().then_some(pids)
}

fn parse_no_lane(nonce: &Nonce, line: &[u8]) -> Option<NoLane> {
    let words = std::str::from_utf8(line).ok()?.strip_prefix(nonce.as_str())?;
    match words.split(' ').skip(1).collect::<Vec<_>>()[..] {
        ["absent"] => Some(NoLane::Absent),
        ["foreign"] => Some(NoLane::Foreign),
        ["refused", group] => Some(NoLane::Refused(group.parse().ok()?)),
        _ => None,
    }
}

/// Holds back what may be the beginning of the sentinel, and nothing else: a line reaches its reader at once.
#[derive(Debug)]
pub struct Sentinel {
    nonce: Nonce,
    held: Bytes,
}

impl Sentinel {
    /// Waits for the sentinel with this nonce.
    #[must_use]
    pub fn new(nonce: Nonce) -> Self {
        Self { nonce, held: Bytes::new() }
    }

    /// Takes in bytes, gives out those that cannot be part of the sentinel.
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        let mut sure = if self.held.is_empty() { bytes } else { join(&self.held, &bytes) };
        let from = sure.len().saturating_sub(SENTINEL);
        let cut = (from..sure.len()).find(|at| self.may_begin(&sure[*at..])).unwrap_or(sure.len());
        self.held = sure.split_off(cut);
        sure
    }

    /// The exit code, when what is held is the whole sentinel.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        if self.held.len() != SENTINEL {
            return None;
        }
        std::str::from_utf8(&self.held[SENTINEL - 4..SENTINEL - 1]).ok()?.parse().ok()
    }

    fn may_begin(&self, bytes: &[u8]) -> bool {
        let nonce = self.nonce.as_str().as_bytes();
        bytes.iter().enumerate().all(|(at, byte)| match at {
            0..32 => nonce.get(at) == Some(byte),
            32 => *byte == b' ',
            33..36 => byte.is_ascii_digit(),
            _ => *byte == b'\n',
        })
    }
}

fn join(first: &[u8], second: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(first.len() + second.len());
    joined.extend_from_slice(first);
    joined.extend_from_slice(second);
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nonce() -> Nonce {
        Nonce("0123456789abcdef0123456789abcdef".to_owned())
    }

    fn run(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<i32>) {
        let mut sentinel = Sentinel::new(nonce());
        let mut out = Vec::new();
        let mut rest = Bytes::copy_from_slice(stream);
        for cut in cuts {
            let piece = rest.split_to((*cut).min(rest.len()));
            out.extend_from_slice(&sentinel.push(piece));
        }
        out.extend_from_slice(&sentinel.push(rest));
        (out, sentinel.exit_code())
    }

    proptest! {
        #[test]
        fn however_the_stream_is_cut_the_bytes_and_the_code_are_the_same(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(0_usize..60, 0..20),
            code in 0_i32..256,
        ) {
            let mut stream = body.clone();
            stream.extend_from_slice(format!("{} {code:03}\n", nonce().as_str()).as_bytes());
            prop_assert_eq!(run(&stream, &cuts), (body, Some(code)));
        }

        #[test]
        fn fault_19_a_stream_cut_anywhere_has_no_exit_code(lost in 1_usize..60) {
            let stream = format!("some rows of text, more than enough{} 000\n", nonce().as_str());
            let kept = stream.len().saturating_sub(lost);
            prop_assert_eq!(run(&stream.as_bytes()[..kept], &[]).1, None);
        }
    }

    #[test]
    fn what_only_looks_like_a_sentinel_is_output() {
        let almost = ["0123", "0123456789abcdef0123456789abcdef 0x0\n", "0123456789abcdef0123456789abcdef 0000"];
        for text in almost {
            let stream = format!("{text}{text}|{} 007\n", nonce().as_str());
            let cuts: Vec<usize> = vec![1; stream.len()];
            assert_eq!(run(stream.as_bytes(), &cuts), (format!("{text}{text}|").into_bytes(), Some(7)));
        }
        let mut sentinel = Sentinel::new(nonce());
        assert_eq!(sentinel.push(Bytes::from_static(b"a line\n")), "a line\n");
    }

    #[test]
    fn bytes_after_the_sentinel_take_its_meaning_away() {
        let stream = format!("x{} 000\ny", nonce().as_str());
        assert_eq!(run(stream.as_bytes(), &[]).1, None);
    }

    #[test]
    fn the_first_line_may_come_in_pieces_and_with_output_behind_it() {
        let mut header = Header::default();
        assert_eq!(header.push(&nonce(), nonce().as_str().as_bytes()), Heading::Unfinished);
        let pids = Pids { program: 12, wrapper: 7 };
        assert_eq!(header.push(&nonce(), b" 12 7\n\nab"), Heading::Read(pids, Bytes::from_static(b"\nab")));
    }

    #[test]
    fn the_first_line_may_say_that_there_is_no_lane() {
        let said = |words: &str| Header::default().push(&nonce(), format!("{} {words}\n", nonce().as_str()).as_bytes());
        assert_eq!(said("absent"), Heading::NoLane(NoLane::Absent));
        assert_eq!(said("foreign"), Heading::NoLane(NoLane::Foreign));
        assert_eq!(said("refused 999"), Heading::NoLane(NoLane::Refused(999)));
        for other in ["", "refused", "refused x", "refused 1 2", "Absent", "absent "] {
            assert_eq!(said(other), Heading::Foreign, "{other}");
        }
    }

    #[test]
    fn other_words_are_not_the_first_line() {
        let text = b"OCI runtime exec failed: exec: \"sh\": executable file not found in $PATH\r\n";
        let mut header = Header::default();
        assert_eq!(header.push(&nonce(), text), Heading::Foreign);
        assert!(header.text().starts_with("OCI runtime"));
        assert_eq!(Header::default().push(&nonce(), &[b'x'; 5000]), Heading::Foreign);
        assert_ne!(Nonce::new().unwrap(), Nonce::new().unwrap());
    }
}
