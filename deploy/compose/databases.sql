-- The second database, of Dagster; the first, POSTGRES_DB, has the product's tables.
CREATE DATABASE dagster;
CREATE EXTENSION IF NOT EXISTS vector;
