//! The dashboard's check against a site that behaves as Horizon does, and as it must not.

use super::*;

const PAGE: &str = "<link rel=\"stylesheet\" href=\"/static/a.css\"><form method=\"POST\">\
    <input type=\"hidden\" name=\"csrfmiddlewaretoken\" value=\"masked\">\
    <input type=\"hidden\" name=\"region\" value=\"default\"></form>";
const OVERVIEW: &str = "<noscript><div class=\"alert alert-danger text-center javascript-disabled\">\
    This application requires JavaScript</div></noscript><span class=\"user-name\">admin</span><td>undercloud-verify</td>";
const SENT: &str = "csrfmiddlewaretoken=masked&password=p&region=default&username=admin";
const OPEN: &str = "sessionid=s1; HttpOnly; Path=/; Secure";

/// A request: its first line's first two words, its cookies, and its body.
struct Asked {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn asked(stream: &mut BufReader<TcpStream>) -> Asked {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let line = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).unwrap();
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Asked { line, headers, body: String::from_utf8(body).unwrap() }
}

/// Status, headers and text of an answer.
fn answer(asked: &Asked) -> (u16, String, &'static str) {
    let cookies = asked.headers.get("cookie").map_or("", String::as_str);
    let is_in = cookies.contains("sessionid=s1");
    let from = asked.headers.get("referer").is_some_and(|from| from.ends_with("/auth/login/"));
    match asked.line.as_str() {
        "GET /auth/login/" => (200, "set-cookie: csrftoken=t; Path=/; Secure\r\n".into(), PAGE),
        "GET /static/a.css" => (200, String::new(), "a {}"),
        "POST /auth/login/" if !from || !cookies.contains("csrftoken=t") => {
            (403, String::new(), "CSRF verification failed")
        }
        "POST /auth/login/" if asked.body == SENT => {
            (302, format!("location: /\r\nset-cookie: {OPEN}\r\n"), "")
        }
        "POST /auth/login/" => (
            200,
            String::new(),
            "<div class=\"alert alert-danger\"><p>Invalid credentials.</p></div>",
        ),
        "GET /project/" if is_in => (200, String::new(), OVERVIEW),
        "GET /project/" => (302, "location: /auth/login/?next=/project/\r\n".into(), ""),
        "GET /auth/logout/" => {
            (302, "location: /auth/login/\r\nset-cookie: sessionid=\"\"; Max-Age=0\r\n".into(), "")
        }
        _ => (404, String::new(), ""),
    }
}

/// A site of which one answer is changed: its first line, and texts that take others' places.
fn site(of: &'static str, from: &'static str, to: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let asked = asked(&mut stream);
            let (status, headers, text) = answer(&asked);
            let length = if asked.line == of { text.replace(from, to).len() } else { text.len() };
            let mut all = format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\
                 connection: close\r\n\r\n{text}"
            );
            if asked.line == of {
                all = all.replace(from, to);
            }
            stream.into_inner().write_all(all.as_bytes()).unwrap();
        }
    });
    format!("http://{address}/")
}

#[test]
fn the_dashboard_is_used_from_login_to_logout() {
    let cloud = Cloud::start();
    let (session, access) = (cloud.session(), cloud.access());
    let url = site("", "", "");
    let ((), said) = dashboard::check(&session, &access, &url).unwrap();
    let place = url.trim_end_matches('/');
    assert_eq!(said, format!("{place} shows the server, from login to logout"));
    let wrong = CloudAccess { password: Secret::new("q"), ..access };
    let error = dashboard::check(&session, &wrong, &url).unwrap_err().to_string();
    assert_eq!(error, "the dashboard does not let admin in: Invalid credentials.");
}

#[test]
fn what_is_wrong_with_the_dashboard_is_said() {
    let cloud = Cloud::start();
    let session = cloud.session();
    let access = cloud.access();
    let red = "<div class=\"alert alert-danger\"><p><strong>Error: </strong>Unable to \
               retrieve limits.</p></div></span>";
    for (of, from, to, expected) in [
        ("GET /auth/login/", "csrfmiddlewaretoken", "other", "no token against forged requests"),
        (
            "GET /auth/login/",
            "a.css",
            "b.css",
            "the style sheet /static/b.css is answered with 404",
        ),
        ("GET /auth/login/", "200 X", "404 X", "answers /auth/login/ with 404"),
        ("GET /auth/login/", "csrftoken=t", "csrftoken=u", "does not let admin in: it answers 403"),
        ("POST /auth/login/", "; Secure", "", "may travel without TLS"),
        ("POST /auth/login/", "HttpOnly; ", "", "or scripts see it"),
        ("POST /auth/login/", "set-cookie", "x-other", "gave no cookie of a session"),
        ("GET /project/", "</span>", red, "at /project/: Error: Unable to retrieve limits."),
        ("GET /project/", "admin", "demo", "the project's overview is not admin's"),
        ("GET /project/", NAME, "nothing", "does not show the server undercloud-verify"),
        ("GET /auth/logout/", "\"\"; Max-Age=0", "s1", "is open after the logout"),
    ] {
        let error = dashboard::check(&session, &access, &site(of, from, to)).unwrap_err();
        assert!(error.to_string().contains(expected), "{of} {to}: {error}");
    }
}
