//! Reads a `multipart/form-data` body: which parts it has, and where their contents stand.
//!
//! Law: nothing is copied and nothing is guessed; a body that two readers could cut in two ways is refused.

use std::ops::Range;

use memchr::memmem;

use crate::bounds;

/// The body is no such form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name, without the `[]` that marks one of several.
    pub name: Box<str>,
    /// Whether the name ends in `[]`.
    pub several: bool,
    /// Whether it is a file.
    pub file: bool,
    /// Where its content stands.
    pub content: Range<usize>,
    /// Where the whole part stands, from its boundary line to the next.
    pub whole: Range<usize>,
}

/// The boundary that a Content-Type names; nothing if it is no form's.
#[must_use]
pub fn boundary(content_type: &str) -> Option<&str> {
    let (media, rest) = content_type.split_once(';')?;
    if !media.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut parameters = rest.split(';').map(str::trim);
    let value = parameters.find_map(|one| {
        let (name, value) = one.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    // RFC 2046: at most 70 characters, none of them a control character.
    let fits = (1..=70).contains(&value.len())
        && value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"');
    fits.then_some(value)
}

/// Where the first boundary's dashes stand: another part may be put in before them.
#[must_use]
pub fn first(boundary: &str, body: &[u8]) -> Option<usize> {
    if body.starts_with(format!("--{boundary}").as_bytes()) {
        return Some(0);
    }
    // The line end that leads to them is what stands before the form, and stays there.
    memmem::find(body, format!("\r\n--{boundary}").as_bytes()).map(|at| at + 2)
}

/// The parts of `body`.
///
/// # Errors
/// It is not a whole form with this boundary.
pub fn parts(boundary: &str, body: &[u8]) -> Result<Vec<Part>, Malformed> {
    let first = format!("--{boundary}");
    let line = format!("\r\n--{boundary}");
    let mut places = Vec::new();
    if body.starts_with(first.as_bytes()) {
        places.push((0, first.len()));
    }
    for at in memmem::find_iter(body, line.as_bytes()) {
        places.push((at, at + line.len()));
        if places.len() > bounds::FORM_PARTS + 1 {
            return Err(Malformed("it has too many parts"));
        }
    }
    let mut parts = Vec::with_capacity(places.len());
    let mut ends = false;
    for (index, &(from, after)) in places.iter().enumerate() {
        let rest = body.get(after..).unwrap_or_default();
        if rest.starts_with(b"--") {
            ends = true;
            break;
        }
        let Some(head) = rest.strip_prefix(b"\r\n") else {
            return Err(Malformed("a boundary line does not end"));
        };
        let Some(&(to, _)) = places.get(index + 1) else { return Err(Malformed("it does not end")) };
        let start = after + 2;
        let blank = memmem::find(head, b"\r\n\r\n").filter(|blank| start + blank + 4 <= to.max(start));
        let Some(blank) = blank else { return Err(Malformed("a part has no end of its headers")) };
        let (name, file) = disposition(head.get(..blank).unwrap_or_default())?;
        let several = name.ends_with("[]");
        let name = name.strip_suffix("[]").unwrap_or(&name).into();
        parts.push(Part { name, several, file, content: start + blank + 4..to, whole: from..to });
    }
    if ends { Ok(parts) } else { Err(Malformed("it does not end")) }
}

/// The name in a part's headers, and whether it has a file name.
fn disposition(headers: &[u8]) -> Result<(String, bool), Malformed> {
    let headers = std::str::from_utf8(headers).map_err(|_| Malformed("a part's headers are not UTF-8"))?;
    let mut found = None;
    for line in headers.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else {
            return Err(Malformed("a part's header has no colon"));
        };
        if name.eq_ignore_ascii_case("content-disposition") && found.replace(value).is_some() {
            return Err(Malformed("a part is named twice"));
        }
    }
    let value = found.ok_or(Malformed("a part has no Content-Disposition"))?;
    let mut rest = value.trim();
    rest = rest.strip_prefix("form-data").ok_or(Malformed("a part is not form-data"))?.trim_start();
    let (mut name, mut file) = (None, false);
    while let Some(after) = rest.strip_prefix(';') {
        let Some((key, value)) = after.trim_start().split_once('=') else { break };
        let (text, after) = quoted(value)?;
        match &*key.trim().to_ascii_lowercase() {
            "name" if name.replace(text).is_some() => return Err(Malformed("a part is named twice")),
            "filename" | "filename*" => file = true,
            _ => {}
        }
        rest = after.trim_start();
    }
    let fits = |name: &String| (1..=bounds::FORM_NAME_BYTES).contains(&name.len()) && name != "[]";
    let name = name.filter(fits);
    Ok((name.ok_or(Malformed("a part has no name"))?, file))
}

/// A quoted or bare value, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), Malformed> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        return Ok((value.trim().to_owned(), rest));
    };
    let mut out = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((out, inner.get(at + 1..).unwrap_or_default())),
            '\\' => out.extend(characters.next().map(|(_, escaped)| escaped)),
            plain => out.push(plain),
        }
    }
    Err(Malformed("a part's name does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x y\"";

    fn read(body: &str) -> Result<Vec<(String, bool, bool, String)>, Malformed> {
        let body = body.replace('\n', "\r\n");
        let parts = parts(boundary(TYPE).unwrap(), body.as_bytes())?;
        Ok(parts
            .into_iter()
            .map(|part| (part.name.to_string(), part.several, part.file, body[part.content].to_owned()))
            .collect())
    }

    #[test]
    fn boundaries() {
        assert_eq!(boundary("Multipart/Form-Data;charset=utf-8; Boundary=abc"), Some("abc"));
        assert_eq!(boundary(TYPE), Some("x y"));
        for bad in [
            "multipart/form-data",
            "text/plain; boundary=a",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a\rb",
        ] {
            assert_eq!(boundary(bad), None, "{bad}");
        }
    }

    #[test]
    fn parts_are_found() {
        let body = "--x y\nContent-Disposition: form-data; name=\"model\"\n\nm\n--x y\n\
                    content-disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".wav\"\nContent-Type: audio/wav\n\n\x01\n--x\n\n\
                    --x y\nContent-Disposition: form-data; name=\"include[]\"\n\n\n--x y--\n";
        let row =
            |name: &str, several, file, content: &str| (name.to_owned(), several, file, content.to_owned());
        assert_eq!(
            read(body).unwrap(),
            [
                row("model", false, false, "m"),
                row("file", false, true, "\x01\r\n--x\r\n"),
                row("include", true, false, ""),
            ]
        );
        assert_eq!(read("--x y--"), Ok(vec![]));
    }

    #[test]
    fn a_part_may_be_put_in_before_the_first() {
        for before in ["", "\r\n", "a preamble\r\n", "--x\r\n"] {
            for body in ["--x y--", "--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x y--"]
            {
                let mut body = format!("{before}{body}");
                let count = parts("x y", body.as_bytes()).unwrap().len();
                let at = first("x y", body.as_bytes()).unwrap();
                assert_eq!(at, before.len());
                body.insert_str(at, "--x y\r\nContent-Disposition: form-data; name=\"new\"\r\n\r\nup\r\n");
                let parts = parts("x y", body.as_bytes()).unwrap();
                assert_eq!(&body[parts[0].content.clone()], "up");
                assert_eq!(parts.len(), count + 1);
            }
        }
        assert_eq!(first("x y", b"\n--x y--"), None);
    }

    #[test]
    fn what_is_broken_is_refused() {
        let part = "--x y\nContent-Disposition: form-data; name=\"a\"\n\n1\n";
        for bad in [
            "",
            "{}",
            part,
            &format!("{part}--x y"),
            &format!("{part}--x y\n"),
            "--x y\nContent-Disposition: form-data; name=\"a\"\n--x y--",
            "--x y\nContent-Type: a/b\n\n1\n--x y--",
            "--x y\nContent-Disposition: form-data\n\n1\n--x y--",
            "--x y\nContent-Disposition: attachment; name=\"a\"\n\n1\n--x y--",
            "--x y\nContent-Disposition: form-data; name=\"a\n\n1\n--x y--",
            "--x y\nContent-Disposition: form-data; name=\"a\"; name=\"b\"\n\n1\n--x y--",
            "--x y\nContent-Disposition: form-data; name=\"a\"\nContent-Disposition: form-data; name=\"b\"\n\n1\n--x y--",
            "--x y\nnonsense\n\n1\n--x y--",
            "--x y\nContent-Disposition: form-data; name=\"[]\"\n\n1\n--x y--",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!("{}--x y--", part.repeat(bounds::FORM_PARTS + 1))).is_err());
    }
}
