//! The record on every kind of store, and the names of locations.

use super::*;
use crate::store::testing;

fn team(name: &str) -> TeamId {
    TeamId::from(name)
}

fn invocation(owner: &str, id: &str, at: i64) -> Invocation {
    Invocation {
        region: "us-east-1".into(),
        id: id.into(),
        team: team(owner),
        arn: format!("arn:aws:bedrock:us-east-1:111122223333:async-invoke/{id}"),
        model_arn: "arn:aws:bedrock:us-east-1::foundation-model/a.b".into(),
        token: Some("token".into()),
        status: Invocation::IN_PROGRESS.into(),
        failure: None,
        output_uri: "s3://bedrock-gateway/out".into(),
        submitted_at: Timestamp::from_millis(at),
        modified_at: None,
        ended_at: None,
    }
}

fn places(bucket: &str) -> Places {
    let bucket = [("us-east-1".to_owned(), bucket.to_owned())].into();
    Places::new(&config::Batch { bucket, ..config::Batch::default() })
}

#[tokio::test]
async fn an_invocation_is_its_teams_alone_and_keeps_what_was_heard_of_it() {
    for store in testing::stores().await {
        let record = Invocations::new((*store).clone(), &config::Batch::default());
        let mut one = invocation("red", "abc", 5);
        record.begin(&one).await.unwrap();
        record.begin(&Invocation { team: team("blue"), ..one.clone() }).await.unwrap();
        assert_eq!(record.find(&team("red"), "us-east-1", "abc").await.unwrap(), Some(one.clone()));
        assert_eq!(record.find(&team("blue"), "us-east-1", "abc").await.unwrap(), None);
        assert_eq!(record.find(&team("red"), "us-west-2", "abc").await.unwrap(), None);
        one.status = "Failed".into();
        one.failure = Some("Why.".into());
        one.ended_at = Some(Timestamp::from_millis(9));
        record.update(&one).await.unwrap();
        assert_eq!(record.find(&team("red"), "us-east-1", "abc").await.unwrap(), Some(one));
    }
}

#[tokio::test]
async fn a_list_is_filtered_ordered_and_goes_on_behind_its_mark() {
    for store in testing::stores().await {
        let record = Invocations::new((*store).clone(), &config::Batch::default());
        for (owner, id, at) in [("red", "a", 1), ("red", "b", 2), ("red", "c", 2), ("red", "d", 3), ("blue", "e", 2)] {
            record.begin(&invocation(owner, id, at)).await.unwrap();
        }
        let done = Invocation { status: "Completed".into(), ..invocation("red", "a", 1) };
        record.update(&done).await.unwrap();
        let list = async |filter: Filter| {
            let found = record.list(&team("red"), &filter).await.unwrap();
            found.into_iter().map(|found| found.id).collect::<String>()
        };
        let at = |millis| Some(Timestamp::from_millis(millis));
        let all = Filter { limit: 10, ..Filter::default() };
        assert_eq!(list(all.clone()).await, "dcba");
        assert_eq!(list(Filter { order: Order::Ascending, ..all.clone() }).await, "abcd");
        assert_eq!(list(Filter { status: Some("InProgress".into()), ..all.clone() }).await, "dcb");
        assert_eq!(list(Filter { after: at(1), before: at(3), ..all.clone() }).await, "cb");
        let from = Some(invocation("red", "c", 2).mark());
        assert_eq!(list(Filter { from: from.clone(), limit: 1, ..all.clone() }).await, "b");
        assert_eq!(list(Filter { from, order: Order::Ascending, ..all }).await, "d");
    }
}

#[test]
fn a_location_has_one_name_here_and_one_at_aws() {
    let (places, red) = (places("files"), team("red"));
    for path in ["", "/", "/out/1"] {
        let ours = format!("s3://bedrock-gateway{path}");
        places.check(&red, "s3Uri", &ours).unwrap();
        let theirs = places.outward(&red, "us-east-1", &ours).unwrap();
        assert_eq!(theirs, format!("s3://files/bedrock-gateway/red{path}"));
        assert_eq!(places.inward(&red, "us-east-1", &theirs).unwrap(), ours);
    }
    assert_eq!(places.outward(&red, "us-west-2", "s3://bedrock-gateway/a"), None, "no bucket");
    assert_eq!(places.inward(&red, "us-east-1", "s3://files/bedrock-gateway/redder/a"), None);
}

#[test]
fn no_location_leads_out_of_the_teams_prefix() {
    let long = format!("s3://bedrock-gateway/{}", "x".repeat(1000));
    for bad in [
        "",
        "s3://files/a",
        "s3://bedrock-gateway-2/a",
        "s3://bedrock-gateway/../blue",
        "s3://bedrock-gateway/a\n",
        &long,
    ] {
        let error = places("files").check(&team("red"), "outputDataConfig", bad).unwrap_err();
        assert_eq!(error.blamed(), Some("outputDataConfig"), "{bad}");
    }
}
