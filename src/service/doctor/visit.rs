//! One server: whether it can be reached, what it is, and what others do there.

use super::DoctorRequest;
use super::notebook::Notebook;
use crate::context::Server;
use crate::db::control::schema;
use crate::db::doctor as asked;
use crate::db::server::Connection;
use crate::domain::connection::{ConnectionSpec, Side};
use crate::domain::doctor::relation::{judge_horizon, judge_prepared, judge_transaction};
use crate::domain::doctor::room::judge_connections;
use crate::domain::doctor::server::{
    Pooling, ServerFacts, explain_read_only, judge_role, judge_settings,
};
use crate::domain::doctor::{Finding, Severity, code};
use crate::error::{Error, Kind, Result};

/// From which age on a prepared transaction is more than a moment of a distributed one.
const PREPARED_SECS: i64 = 300;

/// A side and what is known of it.
pub(super) struct Visit {
    pub side: Side,
    /// The way there, when it is known.
    pub spec: Option<ConnectionSpec>,
    /// Nothing when the server cannot be worked with.
    pub connection: Option<Connection>,
    pub facts: Option<ServerFacts>,
    pub notebook: Notebook,
}

/// Visits a server, whatever is wrong with it.
pub(super) async fn visit(
    side: Side,
    spec: Result<ConnectionSpec>,
    schema: &str,
    request: &DoctorRequest,
) -> Visit {
    let mut visit = Visit {
        side,
        spec: None,
        connection: None,
        facts: None,
        notebook: Notebook::new(request.limit),
    };
    let spec = match spec {
        Ok(spec) => spec,
        Err(error) => {
            let code = match error.kind() {
                Kind::Guard => code::TRANSACTION_POOLER,
                _ => code::BAD_URL,
            };
            visit.notebook.add(Finding::of_error(code, side, &error));
            return visit;
        }
    };
    visit.spec = Some(spec.clone());
    let server = Server::new(spec, schema);
    let opened = server.open().await;
    match opened {
        Ok(connection) => visit.examine(&server, connection, request).await,
        Err(error) => visit.refused(&server, &error).await,
    }
    visit
}

impl Visit {
    async fn refused(&mut self, server: &Server, error: &Error) {
        let code = match error.kind() {
            Kind::Guard => code::TRANSACTION_POOLER,
            Kind::Permission => code::NOT_ADMITTED,
            _ => code::UNREACHABLE,
        };
        let mut finding =
            Finding::of_error(code, self.side, error).about(server.spec().to_string());
        if error.kind() == Kind::Guard
            && let Some(address) = server.behind().await
        {
            let line = format!("-- the server behind the pooler listens on {address}");
            finding.mend.insert(0, line);
        }
        self.notebook.add(finding);
    }

    async fn examine(&mut self, server: &Server, mut first: Connection, request: &DoctorRequest) {
        let side = self.side;
        let pooling = match server.refuse_pooler(&mut first).await {
            Err(error) if error.kind() == Kind::Guard => return self.refused(server, &error).await,
            Err(error) if error.kind() != Kind::Connect => {
                self.notebook
                    .keep(side, "whether a pooler is used", Err::<(), _>(error));
                Pooling::Direct
            }
            // How many connections are free is looked at below.
            Err(_) => Pooling::Direct,
            Ok(()) => match server.is_pooled(&mut first).await {
                Ok(true) => Pooling::Session,
                _ => Pooling::Direct,
            },
        };
        let read_only = match side {
            Side::Source => Ok(()),
            Side::Target => schema::refuse_read_only(&mut first).await,
        };
        let restrained = asked::restrain(side, &mut first, request.limit).await;
        let restrained = self
            .notebook
            .keep(side, "anything of the server", restrained);
        if restrained.is_none() {
            return;
        }
        self.connection = Some(first);
        self.role_and_settings(server, pooling, read_only).await;
        self.connections(request).await;
        self.transactions(request).await;
    }

    async fn role_and_settings(
        &mut self,
        server: &Server,
        pooling: Pooling,
        read_only: Result<()>,
    ) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let (side, notebook) = (self.side, &mut self.notebook);
        let spec = server.spec();
        let asking = asked::settings(side, connection);
        let settings = notebook.look(side, "its settings", asking).await;
        let settings = settings.unwrap_or_default();
        match read_only {
            Err(error) if error.kind() == Kind::Resources => {
                let finding = Finding::of_error(code::READ_ONLY, side, &error);
                notebook.add(explain_read_only(finding, &settings));
            }
            read_only => {
                notebook.keep(side, "whether it can be written", read_only);
            }
        }
        let asking = asked::facts(spec, connection, pooling);
        let Some(mut facts) = notebook.look(side, "what it is", asking).await else {
            return;
        };
        let asking = asked::database_bytes(side, connection);
        facts.database_bytes = notebook.look(side, "the database's size", asking).await;
        let judged = judge_role(side, &facts, !spec.is_local());
        notebook.findings.extend(judged);
        let judged = judge_settings(side, &facts, &settings);
        notebook.findings.extend(judged);
        self.facts = Some(facts);
    }

    async fn connections(&mut self, request: &DoctorRequest) {
        let (Some(connection), Some(facts)) = (&mut self.connection, &self.facts) else {
            return;
        };
        let (side, notebook) = (self.side, &mut self.notebook);
        let asking = asked::connections(side, connection);
        if let Some(found) = notebook.look(side, "its free connections", asking).await {
            let wanted = i64::from(request.max_concurrent);
            let judged = judge_connections(side, &facts.role, &found, wanted);
            notebook.findings.extend(judged);
        }
    }

    /// Looks for transactions that keep others waiting, or keep what they left from being cleaned up.
    async fn transactions(&mut self, request: &DoctorRequest) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let (side, notebook) = (self.side, &mut self.notebook);
        let asking = asked::prepared_transactions(side, connection, 0);
        let prepared = notebook.look(side, "prepared transactions", asking).await;
        for (gid, age_secs) in prepared.unwrap_or_default() {
            let finding = judge_prepared(side, &gid, age_secs);
            notebook.add(match age_secs {
                PREPARED_SECS.. => finding,
                _ => finding.weighing(Severity::Note),
            });
        }
        let longer = i64::try_from(request.long_transaction.as_secs()).unwrap_or(i64::MAX);
        let asking = asked::open_transactions(side, connection, longer);
        let open = notebook.look(side, "open transactions", asking).await;
        let open = open.unwrap_or_default();
        let judged = open.iter().map(|it| judge_transaction(side, it));
        notebook.findings.extend(judged);
        if side == Side::Source && open.is_empty() {
            let asking = asked::horizon_behind(connection);
            let behind = notebook.look(side, "its oldest transaction", asking).await;
            notebook.findings.extend(behind.and_then(judge_horizon));
        }
    }
}
