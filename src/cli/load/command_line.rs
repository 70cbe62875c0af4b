//! The command as it was typed, without secrets.

/// Options whose value is a secret.
const SECRET_OPTIONS: &[&str] = &["--api-key"];

/// Settings of profiles whose value is a secret.
const SECRET_SETTINGS: &[&str] = &["token", "secret", "password", "auth", "key"];

const MASK: &str = "***";

/// Options whose value is a URL, in which a password may stand.
const URL_OPTIONS: &[&str] = &["--url", "--failover", "--publish-url", "--ws-url", "--wss-url", "--wt-url", "--tcp-url"];

/// The command line, quoted for a shell, with secrets masked.
pub(super) fn masked(args: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut before = String::new();
    for (at, arg) in args.enumerate() {
        // The program is called by its name, wherever it is on this machine.
        let word = if at == 0 { "fanfare".to_owned() } else { mask(&before, &arg) };
        words.push(quoted(&word));
        before = arg;
    }
    words.join(" ")
}

fn mask(before: &str, arg: &str) -> String {
    if SECRET_OPTIONS.contains(&before) {
        return MASK.into();
    }
    let secret = SECRET_OPTIONS.iter().find(|option| arg.strip_prefix(**option).is_some_and(|rest| rest.starts_with('=')));
    if let Some(option) = secret {
        return format!("{option}={MASK}");
    }
    if URL_OPTIONS.contains(&before) {
        return masked_url(arg);
    }
    if let Some((option, url)) = arg.split_once('=').filter(|(option, _)| URL_OPTIONS.contains(option)) {
        return format!("{option}={}", masked_url(url));
    }
    let (head, setting) = match arg.strip_prefix("--set=") {
        Some(setting) => ("--set=", setting),
        None if before == "--set" => ("", arg),
        None => return arg.to_owned(),
    };
    match setting.split_once('=') {
        Some((name, _)) if SECRET_SETTINGS.contains(&name) => format!("{head}{name}={MASK}"),
        _ => arg.to_owned(),
    }
}

/// The URL without user and password.
fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    place.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, host)| format!("{scheme}://{MASK}@{host}{path}"))
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%@+*".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_however_they_are_given() {
        let typed = "/x/fanfare load --api-key k1 --api-key=k2 --set token=t1 --set=secret=s1 --set path=/a --assert p99<1ms";
        let shown = masked(typed.split(' ').map(str::to_owned));
        let wanted = "fanfare load --api-key *** --api-key=*** --set token=*** --set=secret=*** --set path=/a --assert 'p99<1ms'";
        assert_eq!(shown, wanted);
        let typed = "fanfare load --publish-url redis://:p@s@h:1/0 --tcp-url=redis://u:p@h --url http://h/a@b";
        let shown = masked(typed.split(' ').map(str::to_owned));
        assert_eq!(shown, "fanfare load --publish-url redis://***@h:1/0 --tcp-url=redis://***@h --url http://h/a@b");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
