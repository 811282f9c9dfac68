//! What a server's answer means for a download (RFC 9110, §14 and §15). Decides; does nothing.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED};

use super::partial::Note;

/// What to do with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its body follows what is there.
    Continue {
        /// Bytes of the whole, if the server knows.
        total: Option<u64>,
    },
    /// Its body is the whole.
    Whole(Note),
    /// What is there is all there is.
    Complete,
    /// It does not fit what is there: the whole has to be asked for.
    AskForWhole,
    /// It is none.
    Refused,
}

/// What the answer to a request for everything from `offset` on means. `note` is what was said of the bytes before.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, offset: u64, note: Option<&Note>) -> Answer {
    match status {
        StatusCode::OK => Answer::Whole(Note::new(
            text(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            text(headers, &ETAG),
            text(headers, &LAST_MODIFIED),
        )),
        StatusCode::PARTIAL_CONTENT if offset > 0 => match range(headers) {
            Some(Range { start: Some(start), total }) if start == offset && same(headers, total, note) => {
                Answer::Continue { total: total.or(note.and_then(|note| note.total)) }
            }
            _ => Answer::AskForWhole,
        },
        StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => match range(headers) {
            Some(Range { start: None, total: Some(total) })
                if total == offset && same(headers, Some(total), note) =>
            {
                Answer::Complete
            }
            _ => Answer::AskForWhole,
        },
        _ => Answer::Refused,
    }
}

/// The validator for `If-Range`: a strong entity tag, else a date (RFC 9110, §13.1.5). A server that compares the date
/// too generously is found out by the digest.
pub(super) fn if_range(note: &Note) -> Option<&str> {
    let strong = note.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
    strong.or(note.last_modified.as_deref())
}

/// Whether nothing speaks against the answer being about the same file.
fn same(headers: &HeaderMap, total: Option<u64>, note: Option<&Note>) -> bool {
    fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.zip(other).is_none_or(|(one, other)| one == other)
    }
    note.is_none_or(|note| {
        agree(total.as_ref(), note.total.as_ref())
            && agree(text(headers, &ETAG).as_ref(), note.etag.as_ref())
            && agree(text(headers, &LAST_MODIFIED).as_ref(), note.last_modified.as_ref())
    })
}

/// `Content-Range` (RFC 9110, §14.4): `bytes 0-499/1234`, `bytes 0-499/*` or `bytes */1234`.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    start: Option<u64>,
    total: Option<u64>,
}

fn range(headers: &HeaderMap) -> Option<Range> {
    let text = text(headers, &CONTENT_RANGE)?;
    let (part, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let total: Option<u64> = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    if part == "*" {
        return Some(Range { start: None, total });
    }
    let (start, end) = part.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    (start <= end && total.is_none_or(|total| end < total)).then_some(Range { start: Some(start), total })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn note() -> Note {
        Note::new(Some(1000), Some("\"1\"".to_owned()), None)
    }

    fn partial(pairs: &[(HeaderName, &'static str)]) -> Answer {
        judge(StatusCode::PARTIAL_CONTENT, &headers(pairs), 400, Some(&note()))
    }

    #[test]
    fn goes_on_only_where_the_range_begins_where_we_stopped() {
        let go_on = Answer::Continue { total: Some(1000) };
        assert_eq!(partial(&[(CONTENT_RANGE, "bytes 400-999/1000")]), go_on);
        assert_eq!(partial(&[(CONTENT_RANGE, "bytes 400-999/*")]), go_on);
        assert_eq!(partial(&[(CONTENT_RANGE, "bytes 400-999/1000"), (ETAG, "\"1\"")]), go_on);
        for range in [
            "bytes 0-999/1000",
            "bytes 401-999/1000",
            "bytes 400-1000/1000",
            "bytes 400-",
            "400-999/1000",
            "",
        ] {
            assert_eq!(partial(&[(CONTENT_RANGE, range)]), Answer::AskForWhole, "{range}");
        }
        assert_eq!(partial(&[]), Answer::AskForWhole);
        let parts = judge(StatusCode::PARTIAL_CONTENT, &HeaderMap::new(), 0, None);
        assert_eq!(parts, Answer::Refused, "nobody asked for a part");
    }

    #[test]
    fn another_file_is_asked_for_as_a_whole() {
        for other in [
            &[(CONTENT_RANGE, "bytes 400-999/1000"), (ETAG, "\"2\"")][..],
            &[(CONTENT_RANGE, "bytes 400-1999/2000"), (ETAG, "\"1\"")],
        ] {
            assert_eq!(partial(other), Answer::AskForWhole);
        }
        let whole = judge(StatusCode::OK, &headers(&[(CONTENT_LENGTH, "2000")]), 400, Some(&note()));
        assert_eq!(whole, Answer::Whole(Note::new(Some(2000), None, None)));
    }

    #[test]
    fn nothing_more_to_come_is_told_from_a_wrong_question() {
        let answer = |range| {
            let headers = headers(&[(CONTENT_RANGE, range)]);
            judge(StatusCode::RANGE_NOT_SATISFIABLE, &headers, 1000, Some(&note()))
        };
        assert_eq!(answer("bytes */1000"), Answer::Complete);
        assert_eq!(answer("bytes */900"), Answer::AskForWhole);
    }

    #[test]
    fn a_weak_tag_is_no_condition_for_a_range() {
        assert_eq!(if_range(&note()), Some("\"1\""));
        let weak = |date: Option<&str>| Note::new(None, Some("W/\"1\"".to_owned()), date.map(str::to_owned));
        assert_eq!(if_range(&weak(None)), None);
        assert_eq!(
            if_range(&weak(Some("Tue, 06 Oct 2026 08:00:00 GMT"))),
            Some("Tue, 06 Oct 2026 08:00:00 GMT")
        );
    }
}
