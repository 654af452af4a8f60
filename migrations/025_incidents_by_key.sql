-- What is seen again belongs to the incident of its key, also to one that was over a moment ago. In a storm that is
-- asked for every alert, while thousands of incidents are remembered.
create index incident_by_key on incident (dedupe_key);

-- What nobody has repeated in time is looked for in every turn.
create index symptom_by_end on symptom (expires_at) where state = 'bad' and expires_at is not null;
