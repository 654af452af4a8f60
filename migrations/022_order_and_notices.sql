-- What a line of deliveries and a notice have to remember.
--
-- One delivery of an ordering key is on its way at a time. What was given up and is redriven stands in
-- line again, before those that were made later; so whoever calls the next has to know whether one is
-- on its way already, whatever is the oldest.
create index delivery_on_its_way on delivery (destination, ordering_key)
    where state = 'pending' and ordering_key is not null;

-- The destinations that were told of an incident, as a JSON list: they are told of its end, even if by
-- then it would be others, because it got worse or the configuration has changed.
alter table incident add column told_to text;

-- SQLite keeps every value twice; the second copies are made anew, with the new column. PostgreSQL has
-- no such index.
drop index if exists incident_twice;
