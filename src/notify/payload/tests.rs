use chrono::DateTime;

use super::*;
use crate::domain::notice::testing::{failed, place};

fn config(kind: Kind) -> HookConfig {
    let url = match kind {
        Kind::Telegram => "https://api.telegram.org/",
        Kind::Ntfy => "https://ntfy.sh/",
        Kind::Gotify => "https://gotify.example.org/sub/",
        Kind::Ping => "https://hc-ping.com/uuid?create=1",
        _ => "https://hooks.example.org/services/T/B/x?sig=a%2Bb",
    };
    let token = (!matches!(kind, Kind::Slack | Kind::Discord | Kind::Teams)).then(|| "12:a/b".to_owned());
    HookConfig { kind, url: url.to_owned(), login: None, token, to: Some("-1001".to_owned()), template: None }
}

fn now() -> DateTime<Utc> {
    place().at
}

fn sent(kind: Kind, notice: &Notice) -> Request {
    request(&config(kind), notice, now()).expect("a request")
}

fn shown(request: &Request) -> String {
    let body = match serde_json::from_str::<Value>(&request.body) {
        Ok(json) => serde_json::to_string_pretty(&json).expect("JSON"),
        Err(_) => request.body.clone(),
    };
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("POST {}\ncontent-type: {}\n{headers}\n{body}\n", request.url, request.content_type)
}

fn all(notice: &Notice) -> String {
    let hooks = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Mail);
    let parts: Vec<_> = hooks.map(|kind| format!("=== {kind}\n{}", shown(&sent(kind, notice)))).collect();
    format!(
        "{}\n=== mail\n{}\n{}\n{}",
        parts.join("\n"),
        render::subject(notice),
        render::text(notice),
        render::html(notice)
    )
}

/// One test: the language is the process's.
#[test]
fn every_service_gets_its_own_form_in_both_languages() {
    insta::assert_snapshot!("failure_en", all(&failed()));
    let over = Notice::new(Level::Warning, "alert:disk_low", place(), "the disk has room again").recovered();
    insta::assert_snapshot!("over_en", all(&over));
    rust_i18n::set_locale("fr");
    insta::assert_snapshot!("failure_fr", all(&failed()));
}

#[test]
fn what_is_too_long_is_cut_to_what_each_service_takes() {
    let mut notice = Notice::new(Level::Failure, "x", place(), &"é*".repeat(200));
    for number in 0..60 {
        notice = notice.line(&format!("{number}{}", "<_".repeat(100)), &"&`".repeat(600));
    }
    let log: Vec<_> = (0..60).map(|number| format!("{number} {}", "é<*".repeat(200))).collect();
    let notice = notice.text(log.iter().map(String::as_str));
    let json = |kind| -> Value { serde_json::from_str(&sent(kind, &notice).body).expect("JSON") };
    let length = |value: &Value| value.as_str().expect("a text").chars().count();
    let embed = &json(Kind::Discord)["embeds"][0];
    let fields = embed["fields"].as_array().expect("fields");
    assert!(fields.len() <= 25 && length(&embed["title"]) <= 256 && length(&embed["description"]) <= 4096);
    assert!(fields.iter().all(|field| length(&field["name"]) <= 256 && length(&field["value"]) <= 1024));
    let total: usize = fields.iter().map(|field| length(&field["name"]) + length(&field["value"])).sum();
    let total = total + length(&embed["title"]) + length(&embed["description"]) + length(&embed["footer"]["text"]);
    assert!(total <= 6000, "{total}");
    // Its limit counts what is shown, without the markup.
    let text = json(Kind::Telegram)["text"].as_str().expect("a text").to_owned();
    let plain = text.replace("&lt;", "<").replace("&amp;", "&");
    assert!(plain.chars().count() <= 4096, "{}", plain.chars().count());
    assert!(json(Kind::Ntfy)["message"].as_str().expect("a text").len() <= 4096);
    assert!(sent(Kind::Teams, &notice).body.len() <= 28_000, "{}", sent(Kind::Teams, &notice).body.len());
}

#[test]
fn no_text_becomes_markup_or_a_mention() {
    let evil = "<!channel> @everyone <script>x</script> [a](http://b) *b* ```";
    let notice = Notice::new(Level::Failure, "x", place(), evil).line(evil, evil).text([evil]);
    let slack = sent(Kind::Slack, &notice).body;
    assert!(!slack.contains("<!") && !slack.contains("```x") && slack.contains("&lt;!channel&gt;"), "{slack}");
    let discord: Value = serde_json::from_str(&sent(Kind::Discord, &notice).body).expect("JSON");
    assert_eq!(discord["allowed_mentions"], serde_json::json!({ "parse": [] }));
    assert!(
        discord["embeds"][0]["title"].as_str().is_some_and(|title| title.contains(r"\[a\]\(http\://b\)")),
        "{discord}"
    );
    assert_eq!(discord["embeds"][0]["description"].as_str().map(|text| text.matches("```").count()), Some(2));
    let telegram: Value = serde_json::from_str(&sent(Kind::Telegram, &notice).body).expect("JSON");
    assert!(!telegram["text"].as_str().expect("a text").contains("<script"), "{telegram}");
    let teams = sent(Kind::Teams, &notice).body;
    assert!(!teams.contains("TextBlock\",\"text") && teams.contains("RichTextBlock"), "Markdown is read in those");
    let html = render::html(&notice);
    assert!(!html.contains("<script") && !html.contains("<!channel"), "{html}");
}

#[test]
fn a_webhook_is_signed_over_its_time_and_body() {
    let request = sent(Kind::Webhook, &failed());
    let header = |name: &str| request.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    assert_eq!(header("x-amarre-timestamp").as_deref(), Some("1795226405"));
    let expected = sign("12:a/b", "1795226405", &request.body);
    assert_eq!(header("x-amarre-signature"), Some(format!("sha256={expected}")));
    // Reckoned by another program: printf '1795226405.{}' | openssl dgst -sha256 -hmac key
    assert_eq!(sign("key", "1795226405", "{}"), "759e0096fe8dbe2db07c6839eb5a0e2390d17f12f4525b1294061c076ce31573");
    assert_eq!(header("idempotency-key").as_deref(), Some("backup_failed@20261121T020000Z-abcdef"));
    let unsigned = request_without_key();
    assert!(unsigned.headers.iter().all(|(name, _)| !name.contains("signature")));
}

fn request_without_key() -> Request {
    request(&HookConfig { token: None, ..config(Kind::Webhook) }, &failed(), now()).expect("a request")
}

#[test]
fn a_template_replaces_the_body_of_a_webhook_and_a_login_is_sent() {
    let template = Some(r#"{"msg": "{{level}} {{title}}"}"#.to_owned());
    let login = Some(("u".to_owned(), "p".to_owned()));
    let request =
        request(&HookConfig { template, login, ..config(Kind::Webhook) }, &failed(), now()).expect("a request");
    let body: Value = serde_json::from_str(&request.body).expect("JSON");
    assert_eq!(body["msg"], format!("failure {}", failed().title));
    assert!(request.headers.contains(&("authorization", "Basic dTpw".to_owned())));
}

#[test]
fn pings_say_start_end_and_failure_of_one_run() {
    let urls = [PING_START, "ping:success", PING_FAIL].map(|event| {
        let notice = Notice::new(Level::Success, event, place(), "x").of_run("20261121T020000Z-abcdef");
        sent(Kind::Ping, &notice).url.to_string()
    });
    let [start, end, fail] = urls.each_ref().map(|url| url.split_once('?').expect("a query"));
    assert_eq!(start.0, "https://hc-ping.com/uuid/start");
    assert_eq!(end.0, "https://hc-ping.com/uuid");
    assert_eq!(fail.0, "https://hc-ping.com/uuid/fail");
    assert!(start.1.starts_with("create=1&rid=") && start.1 == end.1 && end.1 == fail.1, "{urls:?}");
    let uuid = end.1.trim_start_matches("create=1&rid=");
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
}
