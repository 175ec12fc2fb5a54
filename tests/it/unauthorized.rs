//! No operation without a key: the OpenAPI document is walked, so that a route cannot be forgotten.

use reqwest::Method;

use crate::support::TestGateway;
use crate::support::reply::Reply;

#[tokio::test]
async fn every_operation_of_the_document_refuses_a_call_without_a_key_or_with_a_wrong_one() {
    let t = TestGateway::start().await;
    let document = serde_json::to_value(bedrock_gateway::api::openapi()).unwrap();
    let mut walked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let concrete = path.replace("{model_id}", "nova-lite").replace("{model}", "nova-lite");
        let concrete = concrete.replace("{guardrail}", "gr1").replace("{version}", "1");
        let concrete = concrete.replace("{invocation}", "arn");
        let concrete = concrete.replace("{profile}", "us.amazon.nova-lite-v1:0");
        let concrete = concrete.replace("{response_id}", "resp_0");
        assert!(!concrete.contains('{'), "a parameter that this test does not know: {path}");
        for method in operations.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let without = t.request(method.clone(), &concrete);
            let wrong = t.request(method.clone(), &concrete).bearer_auth("bgw_nobody_secret");
            for request in [without, wrong] {
                let reply = Reply::to(request.header("content-type", "application/json").body("{}")).await;
                assert!([401, 403].contains(&reply.status()), "{method} {path}: {reply:?}");
                if path.starts_with("/v1/messages") {
                    assert_eq!(reply.anthropic_error()["type"], "authentication_error");
                } else if ["/v1/", "/catalog/", "/admin/"].iter().any(|start| path.starts_with(start)) {
                    reply.openai_error();
                } else {
                    reply.exception();
                }
            }
            walked += 1;
            // From one address, only so many wrong keys are answered in a minute.
            t.clock.advance(std::time::Duration::from_secs(10));
        }
    }
    assert!(walked >= 25, "{walked}");
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}
