//! Who may connect, and who may manage.
