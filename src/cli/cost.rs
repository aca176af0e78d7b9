//! `amarre cost`: what keeping the backups costs, now and in a year, and what a restore from each place would.

use std::fs;
use std::time::Duration;

use chrono::TimeDelta;
use rust_i18n::t;
use serde_json::{Value, json};

use crate::cli::args::CostArgs;
use crate::cli::{Context, output};
use crate::domain::cost::{At, Cost, Growth, Plan, Price, Prices};
use crate::domain::text::{bytes, escape};
use crate::error::{Exit, Failure};
use crate::operations::cost::{self, Place, Places};

/// How long a store may take to say what it has.
const STORE_PATIENCE: Duration = Duration::from_secs(20);
/// What comes with the program.
const DEFAULT: &str = include_str!("../../docs/prices.json");
const YEAR: TimeDelta = TimeDelta::days(365);

/// Runs the command.
///
/// # Errors
/// What ended it.
pub async fn run(context: &Context, args: &CostArgs) -> Result<Exit, Failure> {
    let prices = prices(context)?;
    let places = cost::look(&context.app("cost").context().await?, STORE_PATIENCE).await?;
    let lines = lines(context, &prices, &places);
    let growth = Growth::of(&places.trend);
    if args.json {
        context.output.json(&as_json(&prices, growth, &lines))?;
    } else {
        show(context, &prices, growth, &lines)?;
    }
    Ok(Exit::Done)
}

fn prices(context: &Context) -> Result<Prices, Failure> {
    let Some(path) = &context.settings.prices else { return Ok(Prices::parse(DEFAULT)?) };
    let shown = escape(&path.display().to_string());
    let text = fs::read_to_string(path).map_err(|cause| Failure {
        message: t!("cmd.cost.unread", path = shown, cause = cause).into_owned(),
        hint: Some(t!("domain.cost.hint").into_owned()),
        exit: Exit::Usage,
    })?;
    Ok(Prices::parse(&text)?)
}

/// One place.
struct Line<'a> {
    place: &'a str,
    class: Option<&'a str>,
    price: Option<&'a Price>,
    /// `None`: the place did not say what it has.
    costs: Option<(Cost, Cost)>,
}

fn lines<'a>(context: &'a Context, prices: &'a Prices, places: &'a Places) -> Vec<Line<'a>> {
    let settings = &context.settings;
    let buckets = settings.s3.iter().map(|s3| At::Bucket {
        bucket: &s3.bucket,
        endpoint: s3.endpoint.as_deref(),
        class: s3.storage_class.as_deref(),
    });
    let plan = Plan {
        schedule: &settings.schedule,
        zone: settings.zone,
        now: context.clock.now(),
        growth: Growth::of(&places.trend),
    };
    let of = |(at, place): (At<'a>, &'a Place)| {
        let price = prices.of(at);
        let class = match at {
            At::Local => None,
            At::Bucket { class, .. } => class.or(price.map(|price| price.class.as_str())),
        };
        let costs = place.kept.as_ref().map(|kept| {
            let now = plan.now(kept, &place.policy, price);
            (now, plan.later(kept, &place.policy, price, plan.now + YEAR))
        });
        Line { place: &place.name, class, price, costs }
    };
    std::iter::once(At::Local).chain(buckets).zip(&places.all).map(of).collect()
}

/// What is known of it together; `None`: nothing is.
fn total(lines: &[Line<'_>], amount: impl Fn(&(Cost, Cost)) -> Option<f64>) -> Option<f64> {
    lines.iter().filter_map(|line| line.costs.as_ref().and_then(&amount)).reduce(|a, b| a + b)
}

fn show(context: &Context, prices: &Prices, growth: Option<Growth>, lines: &[Line<'_>]) -> Result<(), Failure> {
    let money = |amount: Option<f64>| amount.map_or_else(|| "?".to_owned(), |amount| money(amount, &prices.currency));
    let size = |cost: Option<&Cost>| cost.map_or_else(|| "?".to_owned(), |cost| bytes(cost.held.bytes as u64));
    let mut rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let (now, later) = (line.costs.as_ref().map(|c| &c.0), line.costs.as_ref().map(|c| &c.1));
            let class = line.class.map_or(String::new(), |class| format!(" ({class})"));
            vec![
                format!("{}{class}", line.place),
                size(now),
                money(now.and_then(|cost| cost.month)),
                size(later),
                money(later.and_then(|cost| cost.month)),
                money(now.and_then(|cost| cost.restore)),
            ]
        })
        .collect();
    if lines.len() > 1 {
        let month = |later: bool| total(lines, |costs| if later { costs.1.month } else { costs.0.month });
        let none = String::new;
        rows.push(vec![
            t!("cmd.cost.total").into_owned(),
            none(),
            money(month(false)),
            none(),
            money(month(true)),
            none(),
        ]);
    }
    let headers = ["place", "now", "month", "later", "month", "restore"].map(|key| t!(format!("cmd.cost.{key}")));
    context.output.data(&output::table(&headers.each_ref().map(AsRef::as_ref), &rows))?;
    let say = |text: &str| context.output.message(text);
    match growth.and_then(|growth| growth.per_day) {
        Some(per_day) => say(&t!("cmd.cost.growth", size = bytes((per_day * 30.0) as u64))),
        None => say(&t!("cmd.cost.growth_unknown")),
    }
    let date = escape(&prices.date);
    match &context.settings.prices {
        Some(path) => say(&t!("cmd.cost.prices_of", path = escape(&path.display().to_string()), date = date)),
        None => say(&t!("cmd.cost.prices", date = date)),
    }
    for line in lines {
        match line.price {
            None => say(&t!("cmd.cost.no_price", place = escape(line.place))),
            Some(price) if price.minimum_days > 0 => {
                say(&t!("cmd.cost.minimum", place = escape(line.place), days = price.minimum_days));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Two decimals; what is less than the least of them is not nothing.
fn money(amount: f64, currency: &str) -> String {
    let text = if amount > 0.0 && amount < 0.005 { "< 0.01".to_owned() } else { format!("{amount:.2}") };
    format!("{} {}", text.replace('.', &t!("domain.decimal")), escape(currency))
}

fn as_json(prices: &Prices, growth: Option<Growth>, lines: &[Line<'_>]) -> Value {
    // Hundredths of a cent: what a float adds behind them says nothing.
    let round = |amount: Option<f64>| amount.map(|amount| (amount * 10_000.0).round() / 10_000.0);
    let one = |cost: &Cost| {
        json!({
            "backups": cost.held.backups,
            "bytes": cost.held.bytes as u64,
            "billed_bytes": cost.held.billed as u64,
            "month": round(cost.month),
            "restore": round(cost.restore),
        })
    };
    let line = |line: &Line<'_>| {
        json!({
            "place": line.place,
            "class": line.class,
            "price": line.price.map(|price| &price.name),
            "now": line.costs.as_ref().map(|costs| one(&costs.0)),
            "in_12_months": line.costs.as_ref().map(|costs| one(&costs.1)),
        })
    };
    json!({
        "format": 1,
        "currency": prices.currency,
        "prices_date": prices.date,
        "growth_bytes_per_day": growth.and_then(|growth| growth.per_day).map(f64::round),
        "places": lines.iter().map(line).collect::<Vec<_>>(),
        "month": round(total(lines, |costs| costs.0.month)),
        "month_in_12_months": round(total(lines, |costs| costs.1.month)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_not_nothing() {
        let shown = [0.0, 0.001, 0.005, 1.239, 1234.5].map(|amount| money(amount, "EUR"));
        assert_eq!(shown, ["0.00 EUR", "< 0.01 EUR", "0.01 EUR", "1.24 EUR", "1234.50 EUR"]);
    }

    #[test]
    fn the_prices_that_come_with_the_program_are_read() {
        assert!(Prices::parse(DEFAULT).is_ok());
    }
}
