//! Failures, as an AWS SDK sees them.

use crate::support::TestGateway;

#[tokio::test]
async fn awss_exceptions_pass_with_their_name_status_and_message() {
    let table = [
        ("ValidationException", 400),
        ("ServiceQuotaExceededException", 400),
        ("AccessDeniedException", 403),
        ("ResourceNotFoundException", 404),
        ("ModelTimeoutException", 408),
        ("ModelErrorException", 424),
        ("ThrottlingException", 429),
        ("InternalServerException", 500),
        ("ServiceUnavailableException", 503),
    ];
    let t = TestGateway::with(|config| config.aws.max_attempts = 1).await;
    for (exception, status) in table {
        for operation in ["converse", "converse-stream"] {
            t.sim.region("*").reject(1, exception, status, "Not this time.");
            let body = crate::support::calls::turn("hi").to_string();
            let reply = t.bedrock().send(operation, body).await;
            assert_eq!(
                (reply.status(), reply.exception()),
                (status, (exception, "Not this time.".into())),
                "{operation}"
            );
            assert!(!reply.header("x-amzn-requestid").is_empty());
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn account_ids_and_arns_in_awss_words_reach_no_client() {
    let t = TestGateway::start().await;
    let message = "User: arn:aws:sts::123456789012:assumed-role/gateway/session is not authorized to perform this.";
    t.sim.region("*").reject(2, "AccessDeniedException", 403, message);
    let reply = t.bedrock().converse("hi").await;
    let (name, told) = reply.exception();
    assert_eq!((reply.status(), name), (403, "AccessDeniedException"));
    assert!(told.contains("is not authorized") && !told.contains("123456789012") && !told.contains("arn:"), "{told}");
    t.finish().await;
}
