-- Items of answers whose ids do not lead to their response, because the model's own service made them.

CREATE TABLE response_items (
    id TEXT NOT NULL,
    response_id TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
    PRIMARY KEY (id, response_id)
);
CREATE INDEX response_items_response_id ON response_items (response_id);
