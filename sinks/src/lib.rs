//! Event log to Splunk HEC, Elasticsearch or OpenSearch and NDJSON files, with dead letters.
