//! Whether something answers: what a container engine asks, from inside, of an image that has no other client.

use std::time::Duration;

use reqwest::redirect::Policy;

use crate::error::{Error, Kind, Result};

/// How long it may take altogether; who asks gives up a little later, and would not hear why.
const TIME: Duration = Duration::from_secs(3);

/// Whether a GET of this URL is answered with a good status within three seconds. No key is sent, and no proxy asked.
///
/// # Errors
/// [`Kind::Invalid`] for a URL that is none; [`Kind::UpstreamUnavailable`] for another status, or none.
pub async fn answers(url: &str) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(TIME).build();
    let sent = client.map_err(Error::internal)?.get(url).send().await;
    let why = match sent {
        Ok(response) if response.status().is_success() => return Ok(()),
        Ok(response) => format!("answers {}", response.status().as_u16()),
        Err(error) if error.is_builder() => {
            let message = format!("`{url}` is not a URL, such as http://127.0.0.1:9090/readyz");
            return Err(Error::invalid("--url", message));
        }
        Err(error) if error.is_timeout() => format!("does not answer within {} s", TIME.as_secs()),
        Err(error) if error.is_connect() => "cannot be reached".to_owned(),
        Err(_) => "breaks off".to_owned(),
    };
    Err(Error::new(Kind::UpstreamUnavailable, format!("{url} {why}.")))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of a server that says this, and then closes the connection.
    async fn judged(said: &'static str) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let read = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            read
        };
        let (verdict, read) = tokio::join!(answers(&url), serve);
        assert!(read > 0);
        verdict
    }

    #[tokio::test]
    async fn a_good_status_is_health_and_nothing_else_is() {
        assert!(judged("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_ok());
        for (said, why) in [
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "answers 503."),
            ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n", "answers 302."),
            ("", "breaks off."),
        ] {
            let error = judged(said).await.unwrap_err();
            assert!(error.kind() == Kind::UpstreamUnavailable && error.message().ends_with(why), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_and_a_text_that_is_no_url_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        drop(listener);
        let error = answers(&url).await.unwrap_err();
        assert!(error.message().ends_with("/readyz cannot be reached."), "{error}");
        assert_eq!(answers("127.0.0.1").await.unwrap_err().blamed(), Some("--url"));
    }
}
