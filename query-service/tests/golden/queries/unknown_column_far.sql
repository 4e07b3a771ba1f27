select zebra_crossing from event_loss
