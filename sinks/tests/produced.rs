//! Everything that sinks themselves make: rows about what a destination did not get.

use expect_test::expect_file;
use kerntrail_schemas::Table;
use kerntrail_schemas::produced::Produced;
use kerntrail_sinks::loss::LossWriter;
use kerntrail_transport::{Codec, Expired, Group};

#[test]
fn the_list_of_activities_and_columns_of_sinks_is_current() {
    let group = Group("sink-s".into());
    let expired = Expired {
        group,
        table: Table::ProcessEvents,
        messages: 2,
        rows: 20,
        from_ms: 1_785_585_600_000,
        to_ms: 1_785_585_601_000,
    };
    let message = LossWriter::new("n1").message(&[expired]).unwrap();
    let batch = Codec::current().decode(Table::EventLoss, message.headers.schema_version, &message.payload).unwrap();
    let mut produced = Produced::default();
    produced.add(Table::EventLoss, &batch.flatten().unwrap());
    let list = expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/producers/sinks.txt")];
    list.assert_eq(&produced.listing());
}
