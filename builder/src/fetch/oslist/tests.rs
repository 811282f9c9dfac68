use serde_json::json;

use super::*;
use crate::catalog::Catalog;
use crate::digest;

const LIST: &str = "https://list.example.org/os_list.json";

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn series() -> Series {
    Catalog::built_in().unwrap().series("raspios-lite-arm64").unwrap().clone()
}

fn image(date: &str) -> Value {
    let path = format!("raspios_lite_arm64/images/raspios_lite_arm64-{date}/{date}-raspios-trixie.img.xz");
    json!({
        "name": "Raspberry Pi OS Lite (64-bit)",
        "icon": "https://icons.example.org/os.png",
        "url": format!("https://downloads.raspberrypi.com/{path}"),
        "release_date": date,
        "extract_size": 3_078_619_136_u64,
        "extract_sha256": digest::of_bytes(date.as_bytes()).to_string(),
        "image_download_size": 550_466_056,
        "image_download_sha256": "",
        "devices": ["pi5-64bit"],
    })
}

/// Searches lists that are there by address, and says which were asked for.
fn find(lists: &[(&str, Value)]) -> (Result<Release, ListError>, Vec<String>) {
    let mut asked = Vec::new();
    let found = search(&url(LIST), &series(), |url| {
        asked.push(url.to_string());
        match lists.iter().find(|(address, _)| *address == url.as_str()) {
            Some((_, Value::String(text))) => Ok(text.clone().into_bytes()),
            Some((_, list)) => Ok(list.to_string().into_bytes()),
            None => Err(GetError::Status(reqwest::StatusCode::NOT_FOUND)),
        }
    });
    (found, asked)
}

fn refusal(list: Value) -> String {
    let source = find(&[(LIST, list)]).0.unwrap_err();
    let known = Some("raspios-lite-arm64-2026-10-06".to_owned());
    let error = crate::fetch::FetchError::Newest { name: series().name, known, source };
    crate::error::Failure::from(error).render()
}

fn with(field: &str, value: Value) -> Value {
    let mut image = image("2026-10-06");
    image.as_object_mut().unwrap().insert(field.to_owned(), value);
    json!({ "os_list": [image] })
}

#[test]
fn the_newest_of_the_series_is_found_in_a_group_among_strangers() {
    let list = json!({ "imager": {}, "os_list": [
        { "name": "broken", "url": 7, "subitems": "none" },
        { "name": "Other", "url": "https://other.example.org/raspios_full_arm64/images/x.img.xz" },
        { "name": "Raspberry Pi OS (other)", "subitems": [image("2026-09-15"), image("2026-10-06"), image("2026-06-18")] },
    ]});
    let (release, asked) = find(&[(LIST, list)]);
    let release = release.unwrap();
    assert_eq!(release.release_date, "2026-10-06");
    assert_eq!(release.extract_sha256, Some(digest::of_bytes(b"2026-10-06")));
    assert_eq!((release.image_download_sha256, release.image_download_size), (None, Some(550_466_056)));
    assert_eq!(asked, [LIST]);
}

#[test]
fn a_query_does_not_make_an_image_one_of_the_series() {
    let mut other = image("2026-10-06");
    let query = format!("https://downloads.raspberrypi.com/os.img.xz?{}", series().path);
    other.as_object_mut().unwrap().insert("url".to_owned(), query.into());
    let text = refusal(json!({ "os_list": [other] }));
    assert!(text.contains("does not have raspios-lite-arm64"), "{text}");
}

#[test]
fn further_lists_are_read_where_the_first_has_none_and_circles_end() {
    let (one, two) = ("https://list.example.org/one.json", "https://downloads.raspberrypi.com/two.json");
    let links = |links: &[&str]| {
        let links: Vec<_> =
            links.iter().map(|link| json!({ "name": "more", "subitems_url": link })).collect();
        json!({ "os_list": [{ "name": "group", "subitems": links }] })
    };
    let first = links(&["one.json", "https://list.example.org/absent.json"]);
    let second = links(&[LIST, one, two]);
    let (release, asked) = find(&[
        (LIST, first.clone()),
        (one, second.clone()),
        (two, json!({ "os_list": [image("2026-10-06")] })),
    ]);
    assert_eq!(release.unwrap().release_date, "2026-10-06");
    assert_eq!(asked, [LIST, one, "https://list.example.org/absent.json", two]);
    let (release, asked) = find(&[(LIST, first), (one, second.clone()), (two, second)]);
    assert!(matches!(release, Err(ListError::Absent { source: Some(_), .. })));
    assert_eq!(asked.len(), 4);
}

#[test]
fn reading_ends_however_many_lists_there_are() {
    let mut asked = 0;
    let found = search(&url(LIST), &series(), |_| {
        asked += 1;
        let links = (0..20).map(|link| json!({ "subitems_url": format!("/{asked}/{link}.json") }));
        Ok(json!({ "os_list": links.collect::<Vec<_>>() }).to_string().into_bytes())
    });
    assert!(
        matches!(found, Err(ListError::Absent { source: Some(why), .. }) if matches!(*why, ListError::TooMany))
    );
    assert_eq!(asked, LISTS);
    let mut depth = 0;
    let found = search(&url(LIST), &series(), |_| {
        depth += 1;
        Ok(json!({ "os_list": [{ "subitems_url": format!("/{depth}.json") }] }).to_string().into_bytes())
    });
    assert!(found.is_err());
    assert_eq!(depth, DEPTH + 1);
}

#[test]
fn lists_of_strangers_are_not_asked() {
    for stranger in [
        "https://other.example.org/list.json",
        "http://downloads.raspberrypi.com/list.json",
        "file:///etc/passwd",
    ] {
        let (found, asked) = find(&[(LIST, json!({ "os_list": [{ "subitems_url": stranger }] }))]);
        assert!(
            matches!(found, Err(ListError::Absent { source: Some(why), .. }) if matches!(*why, ListError::Foreign(_)))
        );
        assert_eq!(asked, [LIST], "{stranger}");
    }
}

#[test]
fn garbage_is_named() {
    let deep = "[".repeat(200_000);
    for (list, reason) in [
        (json!("<!DOCTYPE html>"), "it is no JSON"),
        (json!(format!("{{\"os_list\": {deep}")), "it is no JSON"),
        (json!({ "error": "none" }), "it has no os_list"),
        (json!({ "os_list": {} }), "it has no os_list"),
        (json!({ "os_list": [] }), "does not have raspios-lite-arm64"),
    ] {
        let text = refusal(list);
        assert!(text.contains(reason) && text.contains("hint: "), "{text}");
        assert!(text.contains("raspios-lite-arm64-2026-10-06"), "what needs no list is named: {text}");
    }
}

#[test]
fn an_entry_that_promises_nothing_certain_is_refused() {
    let base = "https://downloads.raspberrypi.com/raspios_lite_arm64/images/";
    for (field, value, reason) in [
        ("extract_sha256", json!(""), "it has no SHA-256"),
        ("extract_sha256", json!("abc"), "one of its digests is none"),
        ("extract_size", json!(1000), "not those of an image"),
        ("extract_size", json!("big"), "a field is missing or wrong"),
        ("release_date", json!("\u{1b}[2Jxx-xx"), "is not a date"),
        ("url", json!(format!("{base}raspios_lite_arm64_latest")), "is a moving one"),
        (
            "url",
            json!("https://other.example.org/raspios_lite_arm64/images/x.img.xz"),
            "neither where the OS list is",
        ),
        ("url", json!(base.replace("https", "http")), "neither where the OS list is"),
    ] {
        let text = refusal(with(field, value));
        assert!(text.contains(reason), "{field}: {text}");
    }
}
