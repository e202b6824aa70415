"""What did the user name? One walk and one opener for each kind of source."""
