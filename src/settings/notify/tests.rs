use super::*;
use crate::settings::testing::{load, problems};

fn one(list: &str) -> Channel {
    let mut channels = load(&[("BACKUP_NOTIFY", list)]).notify.channels;
    assert_eq!(channels.len(), 1, "{list}: {channels:?}");
    channels.remove(0)
}

fn hook(list: &str) -> Hook {
    match one(list).target {
        Target::Hook(hook) => hook,
        Target::Mail(mail) => panic!("{list}: {mail:?}"),
    }
}

fn url(list: &str) -> String {
    hook(list).url.expose().to_owned()
}

#[test]
fn an_address_says_its_kind_and_where_requests_go() {
    for (address, kind, url) in [
        ("slack://T0/B0/canary", Kind::Slack, "https://hooks.slack.com/services/T0/B0/canary"),
        ("slack://hooks.slack.com/services/T0/B0/x", Kind::Slack, "https://hooks.slack.com/services/T0/B0/x"),
        ("https://hooks.slack.com/services/T0/B0/x", Kind::Slack, "https://hooks.slack.com/services/T0/B0/x"),
        ("slack+https://chat.example.org/hooks/x", Kind::Slack, "https://chat.example.org/hooks/x"),
        ("discord://42/token", Kind::Discord, "https://discord.com/api/webhooks/42/token"),
        ("https://discord.com/api/webhooks/42/token", Kind::Discord, "https://discord.com/api/webhooks/42/token"),
        (
            "teams://a.logic.azure.com:443/workflows/1/paths/invoke?api-version=2&level=failure&sig=a%2Bb",
            Kind::Teams,
            "https://a.logic.azure.com/workflows/1/paths/invoke?api-version=2&sig=a%2Bb",
        ),
        ("telegram://123:abc@-1001", Kind::Telegram, "https://api.telegram.org/"),
        ("telegram+http://123:abc@127.0.0.1:8081/@ops", Kind::Telegram, "http://127.0.0.1:8081/"),
        ("ntfy://ntfy.sh/topic", Kind::Ntfy, "https://ntfy.sh/"),
        ("ntfys://host/sub/topic", Kind::Ntfy, "https://host/sub/"),
        ("ntfy+http://10.0.0.7:8080/topic", Kind::Ntfy, "http://10.0.0.7:8080/"),
        ("gotify://host/sub/token", Kind::Gotify, "https://host/sub/"),
        ("webhook+https://host/path?a=b&level=success", Kind::Webhook, "https://host/path?a=b"),
        ("ping+https://hc-ping.com/uuid", Kind::Ping, "https://hc-ping.com/uuid"),
        ("ping+http://u:p@host:8000/ping/x", Kind::Ping, "http://host:8000/ping/x"),
    ] {
        let channel = one(address);
        assert_eq!((channel.kind, self::url(address).as_str()), (kind, url), "{address}");
    }
}

#[test]
fn tokens_chats_and_logins_are_found() {
    let telegram = hook("telegram+http://123:abc@127.0.0.1:8081/@ops");
    assert_eq!((telegram.token, telegram.to.as_deref()), (Some(Secret::new("123:abc")), Some("@ops")));
    let ntfy = hook("ntfy://tk_x@host/topic");
    assert_eq!((ntfy.token, ntfy.to.as_deref(), ntfy.login), (Some(Secret::new("tk_x")), Some("topic"), None));
    assert_eq!(hook("ntfy://u:p%40@host/topic").login, Some(("u".to_owned(), Secret::new("p@"))));
    assert_eq!(hook("gotify://host/sub/token").token, Some(Secret::new("token")));
    assert_eq!(hook("webhook+https://u:p@host/").login, Some(("u".to_owned(), Secret::new("p"))));
}

#[test]
fn the_level_is_that_of_the_address_else_that_of_all() {
    assert_eq!(one("slack://T/B/x").level, Threshold::Warning);
    assert_eq!(one("slack://T/B/x?level=failure").level, Threshold::Failure);
    assert_eq!(one("telegram://1:a@2?level=success").level, Threshold::Success);
    let all = load(&[("BACKUP_NOTIFY_LEVEL", "success"), ("BACKUP_NOTIFY", "discord://1/x, ntfy://h/t?level=failure")]);
    let levels: Vec<_> = all.notify.channels.iter().map(|channel| channel.level).collect();
    assert_eq!(levels, [Threshold::Success, Threshold::Failure]);
}

#[test]
fn mail_comes_from_an_address_or_from_variables() {
    let mail = |channel: Channel| match channel.target {
        Target::Mail(mail) => mail,
        Target::Hook(hook) => panic!("{hook:?}"),
    };
    let list = "smtp://u%40x.org:p%2C@mail.example.org/?to=a@x.org,b@x.org&from=Amarre <backup@x.org>,slack://T/B/x";
    let channels = load(&[("BACKUP_NOTIFY", list)]).notify.channels;
    assert_eq!(channels.iter().map(|c| c.kind).collect::<Vec<_>>(), [Kind::Mail, Kind::Slack]);
    let sent = mail(channels[0].clone());
    assert_eq!((sent.host.as_str(), sent.port, sent.tls), ("mail.example.org", 587, MailTls::StartTls));
    assert_eq!(sent.login, Some(("u@x.org".to_owned(), Secret::new("p,"))));
    assert_eq!((sent.to, sent.from.as_str()), (vec!["a@x.org".into(), "b@x.org".into()], "Amarre <backup@x.org>"));
    let sent = mail(one("smtps://u@x.org:p@h/?to=a@x.org"));
    assert_eq!((sent.port, sent.tls, sent.from.as_str()), (465, MailTls::Tls, "u@x.org"));
    let sent = mail(one("smtp://relay/?to=a@x.org&from=b@x.org&tls=none"));
    assert_eq!((sent.port, sent.tls, sent.login), (25, MailTls::None, None));
    let server = [
        ("BACKUP_NOTIFY_SMTP_HOST", "mail.example.org"),
        ("BACKUP_NOTIFY_SMTP_PORT", "465"),
        ("BACKUP_NOTIFY_SMTP_USER", "backup@x.org"),
        ("BACKUP_NOTIFY_SMTP_PASSWORD", "canary"),
    ];
    let own = [&server[..], &[("BACKUP_NOTIFY_MAIL_TO", "a@x.org, b@x.org")]].concat();
    let sent = mail(load(&own).notify.channels.remove(0));
    assert_eq!((sent.tls, sent.to.len(), sent.from.as_str()), (MailTls::Tls, 2, "backup@x.org"));
    let named = [&server[..], &[("BACKUP_NOTIFY", "mailto:ops@x.org?level=failure")]].concat();
    let channel = load(&named).notify.channels.remove(0);
    assert_eq!((channel.level, mail(channel).to), (Threshold::Failure, vec!["ops@x.org".to_owned()]));
}

#[test]
fn each_kind_has_variables_of_its_own() {
    let channels = load(&[
        ("BACKUP_NOTIFY_SLACK_URL", "https://hooks.slack.com/services/T/B/x"),
        ("BACKUP_NOTIFY_DISCORD_URL", "https://discord.com/api/webhooks/1/x"),
        ("BACKUP_NOTIFY_TEAMS_URL", "https://a.logic.azure.com/workflows/1?sig=x"),
        ("BACKUP_NOTIFY_TELEGRAM_TOKEN", "1:x"),
        ("BACKUP_NOTIFY_TELEGRAM_CHAT", "-100"),
        ("BACKUP_NOTIFY_NTFY_URL", "https://ntfy.sh/topic"),
        ("BACKUP_NOTIFY_NTFY_TOKEN", "tk_x"),
        ("BACKUP_NOTIFY_GOTIFY_URL", "https://gotify.example.org"),
        ("BACKUP_NOTIFY_GOTIFY_TOKEN", "x"),
        ("BACKUP_NOTIFY_WEBHOOK_URL", "https://host/hook"),
        ("BACKUP_NOTIFY_WEBHOOK_SECRET", "canary"),
        ("BACKUP_NOTIFY_WEBHOOK_TEMPLATE", r#"{"text": "{{title}}"}"#),
        ("BACKUP_NOTIFY_PING_URL", "https://hc-ping.com/uuid"),
        ("BACKUP_NOTIFY_DIGEST", "weekly"),
    ])
    .notify;
    let kinds: Vec<_> = channels.channels.iter().map(|channel| channel.kind).collect();
    let expected =
        [Kind::Slack, Kind::Discord, Kind::Teams, Kind::Ntfy, Kind::Webhook, Kind::Ping, Kind::Telegram, Kind::Gotify];
    assert_eq!(kinds, expected);
    assert!(channels.weekly);
    let Target::Hook(webhook) = &channels.channels[4].target else { panic!("no hook") };
    assert_eq!(webhook.token, Some(Secret::new("canary")));
    assert!(webhook.template.is_some());
    let Target::Hook(ntfy) = &channels.channels[3].target else { panic!("no hook") };
    assert_eq!((ntfy.token.clone(), ntfy.to.as_deref()), (Some(Secret::new("tk_x")), Some("topic")));
}

#[test]
fn an_id_outlives_a_new_token_and_tells_two_places_apart() {
    for (before, after) in [
        ("slack://T/B/old", "slack://T/B/new"),
        ("discord://1/old", "discord://1/new"),
        ("teams://h/workflows/1?sig=old", "teams://h/workflows/1?sig=new"),
        ("telegram://1:old@-100", "telegram://1:new@-100"),
        ("ntfy://old@h/t", "ntfy://new@h/t?level=failure"),
        ("gotify://h/old", "gotify://h/new"),
        ("webhook+https://u:old@h/p?k=old", "webhook+https://u:new@h/p?k=new"),
        ("smtp://u:old@h/?to=a@x.org&from=b@x.org", "smtps://u:new@h/?to=a@x.org&from=c@x.org"),
    ] {
        assert_eq!(one(before).id, one(after).id, "{before}");
    }
    let channels =
        load(&[("BACKUP_NOTIFY", "slack://T/B/x,slack://T/C/x,gotify://h/one,gotify://h/two")]).notify.channels;
    let ids: BTreeSet<_> = channels.iter().map(|channel| channel.id.as_str()).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids.iter().all(|id| !id.contains("one") && id.len() < 24), "{ids:?}");
}

#[test]
fn fault_86_what_is_wrong_is_told_without_the_address() {
    for (name, value) in [
        ("BACKUP_NOTIFY", "canary"),
        ("BACKUP_NOTIFY", "canary1:canary"),
        ("BACKUP_NOTIFY", "fax://canary"),
        ("BACKUP_NOTIFY", "slack+ftp://canary"),
        ("BACKUP_NOTIFY", "https://canary.example.org/canary"),
        ("BACKUP_NOTIFY", "slack:canary"),
        ("BACKUP_NOTIFY", "slack+https://"),
        ("BACKUP_NOTIFY", "slack+https://canary"),
        ("BACKUP_NOTIFY", "slack://T/B/canary?level=loud"),
        ("BACKUP_NOTIFY", "telegram://canary"),
        ("BACKUP_NOTIFY", "telegram://canary@"),
        ("BACKUP_NOTIFY", "ntfy://canary"),
        ("BACKUP_NOTIFY", "gotify://canary"),
        ("BACKUP_NOTIFY", "smtp://u:canary@h"),
        ("BACKUP_NOTIFY", "smtp://u:canary@h/?to=a@x.org"),
        ("BACKUP_NOTIFY", "smtp://u:canary@h/?to=canary&from=a@x.org"),
        ("BACKUP_NOTIFY", "smtp://u:canary@h/?to=a@x.org&from=a@x.org&tls=canary"),
        ("BACKUP_NOTIFY", "mailto:a@x.org"),
        ("BACKUP_NOTIFY_LEVEL", "loud"),
        ("BACKUP_NOTIFY_DIGEST", "daily"),
        ("BACKUP_NOTIFY_SLACK_URL", "canary"),
        ("BACKUP_NOTIFY_GOTIFY_TOKEN", "canary"),
        ("BACKUP_NOTIFY_TELEGRAM_TOKEN", "canary"),
        ("BACKUP_NOTIFY_TELEGRAM_CHAT", "canary"),
        ("BACKUP_NOTIFY_SMTP_PASSWORD", "canary"),
        ("BACKUP_NOTIFY_SMTP_HOST", "mail.example.org"),
        ("BACKUP_NOTIFY_MAIL_TO", "a@x.org"),
        ("BACKUP_NOTIFY_WEBHOOK_TEMPLATE", "{{titel}}"),
    ] {
        let problems = problems(&[(name, value)]);
        assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
        use crate::error::Explain as _;
        let text = format!("{} {}", problems[0], problems[0].hint().expect("a hint"));
        assert!(!text.contains("canary"), "{name}={value}: {text}");
        assert!(text.contains("BACKUP_NOTIFY"), "{name}={value}: {text}");
    }
}

#[test]
fn fault_86_secrets_of_every_channel_are_hidden() {
    let list = "slack://T0/B0/canary-slack,discord://1/canary-discord,teams://h/w?sig=canary-teams-sig,telegram://1:canary-tg@2,\
        ntfy://canary-ntfy@h/t,ntfy://u:canary-ntfy2@h/t,gotify://h/canary-gotify,webhook+https://u:canary-hook@h/p,\
        ping+https://hc-ping.com/canary-ping,smtp://u:canary-mail@h/?to=a@x.org&from=a@x.org";
    let settings = load(&[("BACKUP_NOTIFY", list), ("BACKUP_NOTIFY_WEBHOOK_SECRET", "canary-hmac")]);
    let mask = crate::settings::mask::Mask::new(&settings.secrets());
    for word in list.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| word.starts_with("canary")) {
        let shown = mask.apply(&format!("cannot reach x/{word}: no"));
        assert!(!shown.contains("canary"), "{shown}");
    }
    assert_eq!(mask.apply("canary-hmac"), "***");
    let shown: Vec<_> =
        settings.notify.channels.iter().map(|channel| format!("{} {channel:?}", channel.shown)).collect();
    assert!(!shown.concat().contains("canary"), "{shown:?}");
}
