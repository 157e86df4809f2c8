//! The same objects as a Helm chart.
